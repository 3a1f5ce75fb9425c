"""`convert`: write a model in another layout."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fm_algo.artifacts.artifact import StoredModel, save_model
from fm_algo.artifacts.builtin.artifact import save_builtin_model
from fm_algo.artifacts.export import LIBFM_FILE, save_libfm, save_npy
from fm_algo.artifacts.location import read_from, write_to
from fm_algo.cli.arguments import add_target, count
from fm_algo.cli.console import note
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.model.plain import as_plain

ABOUT = """\
Write a model in another layout.

  ours     model.safetensors
  plain    the same without weights of pairs of fields: of an ordinary factorization machine
  builtin  model_algo-1, for programs that read the built-in algorithm's artifact
  npy      w0.npy, w.npy and V.npy
  libfm    model.libfm, the text that libFM loads

Where pairs of fields have weights, all layouts but ours get an ordinary factorization machine with
the same scores. It has more factors.
"""


def _save_ours(directory: Path, read: StoredModel) -> None:
    save_model(directory, read.model, read.hyperparameters, tables=read.tables, labels=read.labels)


_LAYOUTS: dict[str, Callable[[Path, StoredModel], object]] = {
    "ours": _save_ours,
    "plain": _save_ours,
    "builtin": lambda directory, read: save_builtin_model(
        directory, read.model, read.hyperparameters
    ),
    "npy": lambda directory, read: save_npy(directory, read.model),
    "libfm": lambda directory, read: save_libfm(directory / LIBFM_FILE, read.model),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_target(
        parser, "a directory, which is made if need be; or an archive to be: a name in .tar.gz"
    )
    parser.add_argument("--to", choices=_LAYOUTS, default="ours", help="default: %(default)s")
    parser.add_argument(
        "--max-factors",
        type=count,
        metavar="COUNT",
        help="how many factors an ordinary machine may have, at the cost of other scores",
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    read = read_from(options.source)
    if options.to != "ours":
        plain, difference = as_plain(read.model, max_factors=options.max_factors)
        if difference is not None:
            note(str(difference))
        read = replace(read, model=plain)
    elif options.max_factors is not None:
        raise UserError("--max-factors: the layout ours keeps a model as it is")
    save = _LAYOUTS[options.to]
    write_to(options.target, lambda directory: save(directory, read))
    if options.to not in {"ours", "plain"}:
        tell_of_samples(read.model)


def tell_of_samples(model: FMModel) -> None:
    """Say it where samples, which the scores of a model come from, have been left out."""
    if model.samples:
        note(
            "the layout holds no samples: scores will be those of the single model, not "
            f"the mean of its {len(model.samples)} samples"
        )
