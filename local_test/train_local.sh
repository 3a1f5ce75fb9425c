#!/usr/bin/env bash
# Train in the image as SageMaker would. No network, no rights of root: a job needs neither.
set -euo pipefail
if [[ $# -ne 1 || $1 == -* ]]; then
  cat >&2 <<USAGE
usage: $0 IMAGE
Trains IMAGE on local_test/test_dir/input, which plays /opt/ml/input.
The model goes to test_dir/model, the reason of a failure to test_dir/output/failure.
USAGE
  exit 2
fi
test_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/test_dir
rm -rf "$test_dir/model" "$test_dir/output"
mkdir "$test_dir/model" "$test_dir/output"
exec docker run --rm --network none --user "$(id -u):$(id -g)" \
  --volume "$test_dir:/opt/ml" "$1" train
