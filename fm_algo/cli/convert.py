"""`convert`: write a model in another layout."""

import argparse
from collections.abc import Callable
from pathlib import Path

from fm_algo.artifacts.artifact import StoredModel, save_model
from fm_algo.artifacts.builtin.artifact import save_builtin_model
from fm_algo.artifacts.export import LIBFM_FILE, save_libfm, save_npy
from fm_algo.artifacts.location import read_from, write_to
from fm_algo.cli.arguments import add_target
from fm_algo.cli.console import note
from fm_algo.model import FMModel

ABOUT = """\
Write a model in another layout.

  ours     model.safetensors
  builtin  model_algo-1, for programs that read the built-in algorithm's artifact
  npy      w0.npy, w.npy and V.npy
  libfm    model.libfm, the text that libFM loads
"""

_LAYOUTS: dict[str, Callable[[Path, StoredModel], object]] = {
    "ours": lambda directory, read: save_model(
        directory, read.model, read.hyperparameters, tables=read.tables, labels=read.labels
    ),
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


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    read = read_from(options.source)
    save = _LAYOUTS[options.to]
    write_to(options.target, lambda directory: save(directory, read))
    if options.to != "ours":
        tell_of_the_rest(read.model)


def tell_of_the_rest(model: FMModel) -> None:
    """Say it where something has been left out that the scores of a model come from."""
    if model.samples:
        note(
            "the layout holds no samples: scores will be those of the single model, not "
            f"the mean of its {len(model.samples)} samples"
        )
    if model.field_weights is not None:
        note(
            "the layout holds no weights of fields: scores will be those of w0, w and V alone, "
            "which is another model"
        )
