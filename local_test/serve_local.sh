#!/usr/bin/env bash
# Serve a trained model as SageMaker would: the model and the rest of the image are read-only.
set -euo pipefail
if [[ $# -lt 1 || $# -gt 2 || $1 == -* ]]; then
  cat >&2 <<USAGE
usage: $0 IMAGE [PORT]
Serves local_test/test_dir/model, which train_local.sh wrote, at http://localhost:PORT (default 8080).
Ctrl-C stops it. predict.sh sends it requests.
USAGE
  exit 2
fi
model=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/test_dir/model
exec docker run --rm --read-only --tmpfs /tmp --publish "127.0.0.1:${2:-8080}:8080" \
  --volume "$model:/opt/ml/model:ro" "$1" serve
