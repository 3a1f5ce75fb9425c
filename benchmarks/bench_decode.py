"""Rows a second from bytes to CSR arrays on one core: compiled decoders beside plain ones.

    python benchmarks/bench_decode.py                       each format, each peer, 5 runs
    python benchmarks/bench_decode.py --formats csv --runs 3
    python benchmarks/bench_decode.py --sdk-python ~/sdk/bin/python

Each run is a separate process. It reads the file before the clock starts (the SDK reads as it
decodes). The clock counts the process's own processor time, so other work there does not show. No
peer has a second thread. The peers take turns, so that a slow spell of the machine hits them all.
Each peer gives one line of JSON: rows and megabytes per second (median, best), what was decoded
(all peers of a format must agree), and where it was measured. The last line of a format has the
ratios of the medians.

Peers: `bulk` (compiled) and `plain` (NumPy and msgspec). RecordIO-protobuf has three more:
`runtime`, a loop over records with protobuf's official runtime, into arrays; `sdk`, `read_records`
of SageMaker's Python SDK, which stops at a list of messages; `sdk-arrays`, the same plus an array
of each message's values and keys. The SDK runs under the interpreter that has it.

Data: `recordio`, `libsvm` and `libffm` hold rows of 39 entries of value 1, one for each of 39
fields of equal width, over 1,000,000 features. `libffm-fields` is `libffm` whose fields are learnt,
too. `csv` holds rows of 39 numbers with six decimals. `csv-sparse` holds rows of 400 columns, where
one in ten is one and the rest are zero.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_train import commit
from peers import NUM_FIELDS

from fm_algo.data.fields import LearntFields
from fm_algo.data.formats.content_type import parse_content_type
from fm_algo.data.formats.decoder import RowDecoder
from fm_algo.data.recordio_file import write_recordio
from fm_algo.sparse import CSRBatch

FEATURE_DIM = 1_000_000
SPARSE_COLUMNS = 400
PIECE_BYTES = 8 << 20  # as much as a training job reads at once

_SDK_SCRIPT = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy
from sagemaker.amazon.common import read_records
with open(sys.argv[1], "rb") as file:
    started = time.process_time()
    records = read_records(file)
    if sys.argv[2] == "sdk":
        elapsed_s = time.process_time() - started
    tensors = [record.features["values"].float32_tensor for record in records]
    values = [numpy.array(tensor.values, numpy.float32) for tensor in tensors]
    keys = [numpy.array(tensor.keys, numpy.int32) for tensor in tensors]
    if sys.argv[2] == "sdk-arrays":
        elapsed_s = time.process_time() - started
entries = sum(map(len, values))
features = sum(map(sum, map(numpy.ndarray.tolist, keys)))
print(json.dumps({"elapsed_s": elapsed_s, "decoded": [len(records), entries, features]}))
"""


def field_rows(num_rows: int) -> CSRBatch:
    """Draw rows with one feature per field."""
    random = np.random.default_rng(0)
    width = FEATURE_DIM // NUM_FIELDS
    within = random.integers(0, width, (num_rows, NUM_FIELDS), dtype=np.int32)
    indices = (within + np.arange(NUM_FIELDS, dtype=np.int32) * width).ravel()
    return CSRBatch(
        np.arange(num_rows + 1, dtype=np.int64) * NUM_FIELDS,
        indices,
        np.ones(len(indices), np.float32),
        random.integers(0, 2, num_rows).astype(np.float32),
        FEATURE_DIM,
    )


def write_fields_as_recordio(path: Path, num_rows: int) -> None:
    """Write `field_rows` as SageMaker's Python SDK does."""
    write_recordio(path, field_rows(num_rows))


def write_fields_as_libsvm(path: Path, num_rows: int) -> None:
    """Write `field_rows` as text."""
    write_fields_as_text(path, num_rows, [""] * NUM_FIELDS)


def write_fields_as_libffm(path: Path, num_rows: int) -> None:
    """Write `field_rows` as text with fields."""
    write_fields_as_text(path, num_rows, [f"{field}:" for field in range(NUM_FIELDS)])


def write_fields_as_text(path: Path, num_rows: int, starts: list[str]) -> None:
    """Write `field_rows`; each entry of a row begins with one of `starts`."""
    rows = field_rows(num_rows)
    labels = rows.require_labels().astype(np.int64).tolist()
    with path.open("w") as file:
        for label, row in zip(labels, rows.indices.reshape(-1, NUM_FIELDS).tolist(), strict=True):
            entries = (f"{start}{feature}:1" for start, feature in zip(starts, row, strict=True))
            file.write(f"{label} {' '.join(entries)}\n")


def write_numbers_as_csv(path: Path, num_rows: int) -> None:
    """Write lines of a label and dense normal numbers."""
    numbers = np.random.default_rng(0).normal(size=(num_rows, NUM_FIELDS))
    np.savetxt(path, np.hstack([numbers[:, :1] > 0, numbers]), fmt=["%d"] + NUM_FIELDS * ["%.6f"])
    path.write_bytes(path.read_bytes().replace(b" ", b","))


def write_zeros_as_csv(path: Path, num_rows: int) -> None:
    """Write lines of a label and mostly zeros."""
    ones = np.random.default_rng(0).random((num_rows, 1 + SPARSE_COLUMNS)) < 0.1
    np.savetxt(path, ones, fmt="%d", delimiter=",")


FORMATS: dict[str, tuple[str, int, Callable[[Path, int], None]]] = {
    "recordio": ("application/x-recordio-protobuf", FEATURE_DIM, write_fields_as_recordio),
    "libsvm": ("text/libsvm", FEATURE_DIM, write_fields_as_libsvm),
    "libffm": ("text/libffm", FEATURE_DIM, write_fields_as_libffm),
    "libffm-fields": ("text/libffm", FEATURE_DIM, write_fields_as_libffm),
    "csv": ("text/csv;label_size=1", NUM_FIELDS, write_numbers_as_csv),
    "csv-sparse": ("text/csv;label_size=1", SPARSE_COLUMNS, write_zeros_as_csv),
}
"""Content type, feature_dim, and the function that writes a file."""


def make(peer: str, format_name: str) -> RowDecoder:
    """Make a decoder of this library."""
    name, feature_dim, _ = FORMATS[format_name]
    content_type = parse_content_type(name)
    fields = LearntFields(feature_dim) if format_name == "libffm-fields" else None
    if peer == "bulk":
        from fm_algo.data.bulk.factory import make_bulk_decoder

        return make_bulk_decoder(content_type, feature_dim=feature_dim, fields=fields)
    from fm_algo.data.formats.factory import make_decoder

    return make_decoder(content_type, feature_dim=feature_dim, labelled=True, fields=fields)


def decode(peer: str, format_name: str, data: bytes) -> tuple[float, list[int]]:
    """Decode a source; return seconds, number of rows and entries, and the sum of features."""
    pieces = [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
    make(peer, format_name).feed(data[: 1 << 16])  # loads the compiled code
    decoder = make(peer, format_name)
    decoded = [0, 0, 0]
    elapsed_s = 0.0
    for piece in [*pieces, None]:
        started = time.process_time()
        batch = decoder.close() if piece is None else decoder.feed(piece)
        elapsed_s += time.process_time() - started
        add(decoded, batch)
    return elapsed_s, decoded


def add(decoded: list[int], batch: CSRBatch) -> None:
    """Add a batch to the counts."""
    decoded[0] += batch.num_rows
    decoded[1] += batch.num_entries
    decoded[2] += int(batch.indices.sum(dtype=np.int64))


def decode_with_runtime(data: bytes) -> tuple[float, list[int]]:
    """Decode records with protobuf's official runtime, one by one."""
    from fm_algo.data.formats.record_pb2 import Record
    from fm_algo.data.formats.recordio import RecordSplitter

    started = time.process_time()
    indptr, labels = [0], []
    indices, values = [], []
    for payload in RecordSplitter().feed(data).payloads:
        record = Record.FromString(payload)
        tensor = record.features["values"].float32_tensor
        indices.append(np.array(tensor.keys, np.int32))
        values.append(np.array(tensor.values, np.float32))
        labels.append(record.label["values"].float32_tensor.values[0])
        indptr.append(indptr[-1] + len(tensor.keys))
    batch = CSRBatch(
        np.array(indptr),
        np.concatenate(indices),
        np.concatenate(values),
        np.array(labels, np.float32),
        FEATURE_DIM,
    )
    elapsed_s = time.process_time() - started
    decoded = [0, 0, 0]
    add(decoded, batch)
    return elapsed_s, decoded


def run_one(peer: str, format_name: str, path: Path) -> None:
    """Do what `measure` asked for and print the result."""
    data = path.read_bytes()
    is_runtime = peer == "runtime"
    elapsed_s, decoded = (
        decode_with_runtime(data) if is_runtime else decode(peer, format_name, data)
    )
    print(json.dumps({"elapsed_s": elapsed_s, "decoded": decoded}))


def measure(peer: str, format_name: str, path: Path, sdk_python: str | None) -> dict[str, object]:
    """Run one peer in a fresh process."""
    command = [sys.executable, __file__, "--one", peer, format_name, str(path)]
    if peer.startswith("sdk"):
        command = [str(sdk_python), "-c", _SDK_SCRIPT, str(path), peer]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, object] = json.loads(output.splitlines()[-1])
    return result


def compare(format_name: str, path: Path, options: argparse.Namespace) -> None:
    """Measure all peers on one file; print a line for each, then the ratios."""
    peers = ["bulk", "plain"]
    if format_name == "recordio":
        peers += ["runtime", *(["sdk", "sdk-arrays"] if options.sdk_python else [])]
    results: dict[str, list[dict[str, object]]] = {peer: [] for peer in peers}
    for _ in range(options.runs):
        for peer in peers:
            results[peer].append(measure(peer, format_name, path, options.sdk_python))
    decoded = {json.dumps(run["decoded"]) for runs in results.values() for run in runs}
    if len(decoded) != 1:
        sys.exit(f"{format_name}: the peers do not agree on what there is to decode: {decoded}")
    medians = {}
    for peer, runs in results.items():
        speeds = [options.num_rows / float(str(run["elapsed_s"])) for run in runs]
        medians[peer] = statistics.median(speeds)
        row_bytes = path.stat().st_size / options.num_rows
        row = {
            "benchmark": "decode",
            "format": format_name,
            "peer": peer,
            "rows_per_second_median": round(medians[peer]),
            "rows_per_second_best": round(max(speeds)),
            "megabytes_per_second_median": round(medians[peer] * row_bytes / 1e6, 1),
            "bytes_per_row": round(row_bytes, 1),
            "decoded": runs[0]["decoded"],
            "runs": len(runs),
            "load_average": round(os.getloadavg()[0], 1),
            "processors": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "commit": commit(),
        }
        print(json.dumps(row), flush=True)
    ratios = [f"{medians['bulk'] / medians[peer]:.1f} times {peer}" for peer in peers[1:]]
    print(f"{format_name}: bulk is {', '.join(ratios)}", flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--num-rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sdk-python", help="an interpreter that can import sagemaker 2")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        peer, format_name, path = options.one
        run_one(peer, format_name, Path(path))
        return
    with tempfile.TemporaryDirectory() as directory:
        for format_name in options.formats:
            path = Path(directory) / format_name
            FORMATS[format_name][2](path, options.num_rows)
            compare(format_name, path, options)


if __name__ == "__main__":
    main()
