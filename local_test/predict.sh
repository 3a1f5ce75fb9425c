#!/usr/bin/env bash
# Send a payload to the server that serve_local.sh started, and print its answer.
set -euo pipefail
if [[ $# -lt 1 || $# -gt 2 || $1 == -* ]]; then
  cat >&2 <<USAGE
usage: [PORT=8080] [ACCEPT=application/json] $0 PAYLOAD [CONTENT_TYPE]
Sends the file PAYLOAD, for example local_test/payloads/sparse.json. Without CONTENT_TYPE, the name's
ending decides: .json .jsonl .csv .libsvm .libffm, else RecordIO-protobuf.
USAGE
  exit 2
fi
case $1 in
  *.json) type=application/json ;;
  *.jsonl) type=application/jsonlines ;;
  *.csv) type=text/csv ;;
  *.libsvm) type=text/libsvm ;;
  *.libffm) type=text/libffm ;;
  *) type=application/x-recordio-protobuf ;;
esac
exec curl --silent --show-error --fail-with-body --data-binary "@$1" \
  --header "Content-Type: ${2:-$type}" --header "Accept: ${ACCEPT:-application/json}" \
  "http://localhost:${PORT:-8080}/invocations"
