"""Write to the console: bytes and tables on standard output, notes on standard error."""

import sys
from collections.abc import Sequence

PROG = "python -m fm_algo"


def write(lines: bytes) -> None:
    """Write lines to standard output."""
    # Bypass Python's buffer: after an error it would fail again when the process ends. An
    # unbuffered write may take fewer bytes than given, and report a full disk only the next time.
    rest, out = memoryview(lines), getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    while rest:
        rest = rest[out.write(rest) :]


def write_table(rows: Sequence[Sequence[str]]) -> None:
    """Write rows of cells to standard output, aligned; the last column is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        write(("  ".join(cells).rstrip() + "\n").encode())


def note(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{PROG}: {text}\n")


def printable(text: str) -> str:
    """Write what a terminal would act upon as escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
