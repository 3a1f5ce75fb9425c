#!/usr/bin/env bash
# Train in the image as SageMaker would, but without a network and without root: a job needs neither.
set -euo pipefail
if [[ $# -lt 1 || $# -gt 3 || $1 == -* ]]; then
  cat >&2 <<USAGE
usage: $0 IMAGE [TRAIN [TEST]]
Trains in IMAGE on local_test/test_dir, which plays /opt/ml. TRAIN and TEST replace its channels. Each
is a directory or s3://bucket/prefix (s3:// needs boto3: pip install '.[aws]').
The model goes to test_dir/model. If the job fails, test_dir/output/failure has the reason.
USAGE
  exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
test_dir=$here/test_dir
fetched=$(mktemp -d)
trap 'rm -rf "$fetched"' EXIT
volumes=(--volume "$test_dir:/opt/ml")
channel() { # channel NAME [SOURCE]: mount SOURCE as that channel, if it is given
  [[ -n ${2-} ]] || return 0
  (cd "$here/.." && "${PYTHON:-.venv/bin/python}" -m fm_algo fetch "$2" "$fetched/$1")
  volumes+=(--volume "$fetched/$1:/opt/ml/input/data/$1:ro")
}
channel train "${2-}"
channel test "${3-}"
rm -rf "$test_dir/model" "$test_dir/output"
mkdir "$test_dir/model" "$test_dir/output"
docker run --rm --network none --user "$(id -u):$(id -g)" "${volumes[@]}" "$1" train
