"""Tables: rows per second from Parquet and CSV on one core, and memory of a table of any length.

    python benchmarks/bench_tables.py                   speed
    python benchmarks/bench_tables.py --gigabytes 10    memory, too: minutes

A row has ten categories, of 100,000 to 3 values, as skewed as in click logs. For memory, a text of
so many gigabytes is read as it is made, and has a column of ten million users.
"""

import argparse
import io
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from fm_algo.data.formats.content_type import ContentType, parse_content_type
from fm_algo.data.tables.arrow.encoding import ArrowEncoder, encode_table
from fm_algo.data.tables.arrow.fitting import fit_encoder
from fm_algo.data.tables.arrow.reading import open_table
from fm_algo.data.tables.columns import Column, parse_columns
from fm_algo.data.tables.encoder import TableEncoder

CARDINALITIES = (100_000, 20_000, 5_000, 1_000, 1_000, 300, 100, 50, 10, 3)
NUM_ROWS = 1_000_000
NUM_USERS = 10_000_000
REPEATS = 3
PARQUET = parse_content_type("application/x-parquet")
CSV = parse_content_type("text/csv;header=present")


def make_table(num_rows: int) -> pa.Table:
    """Make rows of ten words with frequencies like Zipf's, and a label."""
    random = np.random.default_rng(0)
    columns = {}
    for number, cardinality in enumerate(CARDINALITIES):
        drawn = (random.pareto(1.1, num_rows) * cardinality / 50).astype(np.int64)
        words = np.char.add(f"v{number}_", np.minimum(drawn, cardinality - 1).astype(str))
        columns[f"c{number}"] = pa.array(words)
    columns["clicked"] = pa.array(random.integers(0, 2, num_rows))
    return pa.table(columns)


def columns_of(names: list[str]) -> dict[str, Column]:
    """Return what each column is."""
    return parse_columns({name: "label" if name == "clicked" else "category" for name in names})


def measure(do: Callable[[], object]) -> float:
    """Return the median of some times, in seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def bench_speed(directory: Path) -> None:
    """Print rows per second of fitting and of encoding, each from bytes of a file."""
    table = make_table(NUM_ROWS)
    pyarrow.parquet.write_table(table, directory / "rows.parquet", row_group_size=250_000)
    pyarrow.csv.write_csv(table, directory / "rows.csv")
    columns = columns_of(table.column_names)
    sources = {"Parquet": ("rows.parquet", PARQUET), "CSV": ("rows.csv", CSV)}
    for name, (file, content_type) in sources.items():
        path = directory / file
        encoder = fit_encoder(columns, open_table(path, content_type))  # compiles, too
        encode_all(path, content_type, encoder)
        fitting = measure(lambda: fit_encoder(columns, open_table(path, content_type)))  # noqa: B023
        encoding = measure(lambda: encode_all(path, content_type, encoder))  # noqa: B023
        print(
            f"{name}: fit {NUM_ROWS / fitting / 1e6:.2f}, encode {NUM_ROWS / encoding / 1e6:.2f} "
            f"million rows per second, {encoder.feature_dim} features",
            flush=True,
        )


def encode_all(source: "Path | Endless", content_type: ContentType, encoder: TableEncoder) -> int:
    """Encode a table; return how many entries it has."""
    reader = open_table(source, content_type)  # type: ignore[arg-type] # a raw stream will do
    batches = encode_table(reader, ArrowEncoder(encoder), labelled=True)
    return sum(rows.num_entries for rows in batches)


class Endless(io.RawIOBase):
    """A CSV text that is made as it is read: the rows of a file over and over, with new users.

    Parameters
    ----------
    path : Path
        Text of a table, whose first column is made.
    num_bytes : int
        Length of the text to be.
    """

    def __init__(self, path: Path, num_bytes: int) -> None:
        header, *self._lines = path.read_bytes().splitlines(keepends=True)
        self._made = b"user," + header
        self._left = num_bytes
        self._random = np.random.default_rng(1)

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        while len(self._made) < size and self._left > 0:
            users = self._random.integers(0, NUM_USERS, len(self._lines)).tolist()
            more = b"".join(
                b"u%d,%b" % (user, line) for user, line in zip(users, self._lines, strict=True)
            )
            self._left -= len(more)
            self._made += more
        data, self._made = self._made[:size], self._made[size:]
        return data


def bench_memory(directory: Path, num_bytes: int) -> None:
    """Print the peak of memory while an endless table is read twice, and what of it stays."""
    small = directory / "small.csv"
    pyarrow.csv.write_csv(make_table(20_000), small)
    columns = columns_of(["user", *make_table(1).column_names])
    fit_encoder(columns, open_table(Endless(small, 1 << 20), CSV))  # type: ignore[arg-type]
    before = peak_mib()
    start = time.perf_counter()
    encoder = fit_encoder(columns, open_table(Endless(small, num_bytes), CSV))  # type: ignore[arg-type]
    fitted = time.perf_counter()
    own = sum(array.nbytes for array in encoder.arrays().values()) >> 20
    print(
        f"fit: {num_bytes >> 20} MiB in {fitted - start:.0f} s, {encoder.feature_dim} features, "
        f"peak {peak_mib() - before} MiB, of which dictionaries {own} MiB",
        flush=True,
    )
    entries = encode_all(Endless(small, num_bytes), CSV, encoder)
    print(
        f"encode: {entries} entries in {time.perf_counter() - fitted:.0f} s; peak "
        f"{peak_mib() - before} MiB"
    )


def peak_mib() -> int:
    """Return the most memory that this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=0.0, help="length of an endless table")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with tempfile.TemporaryDirectory(prefix="fm-bench-") as directory:
        if options.gigabytes:
            bench_memory(Path(directory), int(options.gigabytes * 2**30))
        else:
            bench_speed(Path(directory))


if __name__ == "__main__":
    main()
