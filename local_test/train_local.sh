#!/usr/bin/env bash
# Train in the image as SageMaker would. No network, no rights of root: a job needs neither.
set -euo pipefail
if [[ $# -lt 1 || $# -gt 3 || $1 == -* ]]; then
  cat >&2 <<USAGE
usage: $0 IMAGE [TRAIN [TEST]]
Trains IMAGE on local_test/test_dir/input, which plays /opt/ml/input. TRAIN and TEST, directories or
s3://bucket/prefix, stand in for its channels (s3:// needs boto3: pip install '.[aws]').
The model goes to test_dir/model, the reason of a failure to test_dir/output/failure.
USAGE
  exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
test_dir=$here/test_dir
fetched=$(mktemp -d)
trap 'rm -rf "$fetched"' EXIT
volumes=(--volume "$test_dir:/opt/ml")
channel() { # channel NAME [SOURCE]: what the job finds as that channel
  [[ -n ${2-} ]] || return 0
  (cd "$here/.." && "${PYTHON:-.venv/bin/python}" -m fm_algo fetch "$2" "$fetched/$1")
  volumes+=(--volume "$fetched/$1:/opt/ml/input/data/$1:ro")
}
channel train "${2-}"
channel test "${3-}"
rm -rf "$test_dir/model" "$test_dir/output"
mkdir "$test_dir/model" "$test_dir/output"
docker run --rm --network none --user "$(id -u):$(id -g)" "${volumes[@]}" "$1" train
