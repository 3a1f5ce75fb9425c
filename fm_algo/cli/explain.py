"""`explain`: tell what the score of a row is made of."""

import argparse

from fm_algo.answers.explain import explain
from fm_algo.cli.named import add_form, add_row, read_row, write_answer

ABOUT = """\
Tell what the margin of a row is made of, by a model of tables: a part per value and per pair of
values, the largest first. The margin is the score of a regressor, the log-odds of a classifier.
Where pairs of columns have weights, a pair is followed by that of its two columns.

  explain SRC --user u7 --item i3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_row(parser, "user", "item")
    add_form(parser)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    found = read_row(options, "user", "item")
    model, row, name = found.model, found.row, found.names.feature_name
    told = explain(model, row.indices, row.values)
    parts = [(told.bias, "bias")]
    parts += zip(told.linear.tolist(), map(name, told.features.tolist()), strict=True)
    pairs = [f"{name(first)} × {name(second)}" for first, second in told.pairs.tolist()]
    parts += zip(told.pairwise.tolist(), pairs, strict=True)
    parts.sort(key=lambda part: -abs(part[0]))
    rest = told.rest_linear + told.rest_pairwise
    if rest:
        parts.append((rest, "all others"))
    rows: list[dict[str, object]] = [
        {"of": of, "part": part} for part, of in (*parts, (told.margin, "margin"))
    ]
    if told.weights is not None:
        weights = dict(zip(pairs, told.weights.tolist(), strict=True))
        rows = [part | {"weight": weights.get(str(part["of"]))} for part in rows]
    write_answer(rows, as_json=options.json)
