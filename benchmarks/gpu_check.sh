#!/usr/bin/env bash
# Prove and measure the GPU kernels on this machine's card, in under 8 minutes.
set -euo pipefail
if [[ $# -gt 1 || ${1-} == -* ]]; then
  cat >&2 <<USAGE
usage: [PYTHON=.venv/bin/python] $0 [OUTPUT]
Runs the tests that want a card, bench_gpu.py and bench_gpu_trajectory.py. Writes to OUTPUT
(.cache/gpu_check.md by default) what docs/performance.md is to say of this card. Without a card it
tries itself at tiny sizes, in Triton's interpreter. MovieLens is downloaded to .cache/movielens, if
it is not there.
USAGE
  exit 2
fi
output=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/../.cache/gpu_check.md}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
export PYTHONPATH=$PWD
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
touch "$found/tests" "$found/lines"
status=0
step() { # step SECONDS FILE COMMAND…: add what COMMAND prints to FILE, and go on if it fails
  echo "gpu_check: ${*:3}" >&2
  timeout "$1" "${@:3}" | tee -a "$found/$2" >&2 || { status=1; echo "gpu_check: failed or cut off" >&2; }
}

if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  tests=(-n 4 tests/unit/training/gradient) bench=(--num-rows 1048576) trajectory=()
else
  tests=(-n 0 tests/unit/training/gradient/gpu/test_gpu_trains.py) bench=(--device interpreter --small) trajectory=(--small)
fi
step 200 tests "$python" -m pytest -q -m gpu "${tests[@]}"
step 180 lines "$python" benchmarks/bench_gpu.py "${bench[@]}"
step 80 lines "$python" benchmarks/bench_gpu_trajectory.py "${trajectory[@]}"
mkdir -p "$(dirname "$output")"
"$python" benchmarks/gpu_report.py "$found/lines" "$(tail -n 1 "$found/tests")" >"$output"
echo "gpu_check: wrote $output" >&2
exit "$status"
