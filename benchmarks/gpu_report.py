"""Write the section of docs/performance.md on a GPU from what `gpu_check.sh` has found.

    python benchmarks/gpu_report.py LINES TESTS

LINES is a file of what bench_gpu.py and bench_gpu_trajectory.py print. TESTS is what pytest says at
its end. The Markdown goes to standard output.
"""

import argparse
import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]

_WIDTH = 116
"""Of the lines of the page."""


def report(lines: Sequence[Line], tests: str) -> str:
    """Return the section, in Markdown.

    Parameters
    ----------
    lines : sequence of dict
        Lines of the benchmarks, in order; what is missing is said to be.
    tests : str
        Last line of pytest.
    """
    parts = ["## How fast is it on a GPU?", f"`benchmarks/gpu_check.sh` {_where(lines)}."]
    told = tests.strip(" =\n") or "not finished"
    parts.append(f"The tests that want a card: {told}.")
    makers = {"check": _check, "copy": _copy, "epoch": _epochs, "trajectory": _trajectories}
    for what, make in makers.items():
        found = [line for line in lines if line["what"] in _BESIDE.get(what, (what,))]
        parts.append(make(found) if found else f"Not finished: {what}.")
    return "\n\n".join(parts) + "\n"


_BESIDE = {"epoch": ("epoch", "torch", "fields")}


def _where(lines: Sequence[Line]) -> str:
    for line in lines:
        if "card" in line:
            return f"on {line['card']}, torch {line['torch']}, commit {line['commit']}"
    return "on a card that nothing is known of"


def _check(lines: Sequence[Line]) -> str:
    found: dict[str, float] = lines[0]["largest_difference"]
    rows = [(name, f"{difference:.1e}") for name, difference in found.items()]
    return (
        "Largest difference of a parameter from the reference's, after a few steps:\n\n"
        + _table(("optimizer", "difference"), rows)
    )


def _copy(lines: Sequence[Line]) -> str:
    return f"The card copies {lines[0]['gb_per_second']} GB/s within its memory, read plus written."


def _epochs(lines: Sequence[Line]) -> str:
    names = {
        "epoch": "this library, {optimizer}",
        "fields": "this library, {optimizer}, weights of {num_fields} fields",
        "torch": "torch, SparseAdam",
    }
    rows = [
        (
            names[line["what"]].format(**line),
            f"{line['mini_batch_size']:,}",
            f"{line['rows_per_second']:,}",
            f"{line['log_loss']:.4f}",
            *(
                f"{line[name]:.2f}" if name in line else ""
                for name in ("least_bytes_share_of_copy", "gathered_bytes_share_of_copy")
            ),
        )
        for line in lines
    ]
    first = lines[0]
    head = (
        f"{first['num_rows']:,} rows of 39 entries over {first['feature_dim']:,} features, "
        f"k = {first['num_factors']}, data in the card's memory. The last two columns are shares "
        "of the copy's rate: of the bytes that must move at least, and of those that move if no "
        "cache helps from row to row."
    )
    columns = ("trainer", "mini-batch", "rows per second", "log loss", "least", "gathered")
    return f"{textwrap.fill(head, _WIDTH)}\n\n{_table(columns, rows)}"


def _trajectories(lines: Sequence[Line]) -> str:
    rows, largest = [], 0.0
    for line in lines:
        for where, name in (("cpu", "CPU"), ("gpu", "GPU")):
            rows.append((line["way"], name, *(f"{rmse:.4f}" for rmse in line[where])))
        largest = max(largest, *(abs(a - b) for a, b in zip(line["cpu"], line["gpu"], strict=True)))
    epochs = [str(number) for number in range(1, 1 + len(lines[0]["cpu"]))]
    head = (
        f"The rmse of held-out ratings ({lines[0]['data']}) after each epoch. CPU and GPU differ by"
    )
    return f"{head} {largest:.1e} at most.\n\n{_table(('training', 'on', *epochs), rows)}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (columns, *rows)]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lines", type=Path)
    parser.add_argument("tests")
    options = parser.parse_args()
    lines = [json.loads(line) for line in options.lines.read_text().splitlines()]
    print(report(lines, options.tests), end="")


if __name__ == "__main__":
    main()
