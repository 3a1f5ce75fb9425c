"""The command line: convert models, export vectors, score rows, fetch data from S3.

Exit codes: 0, done. 1, not done; one line on standard error says why. 2, the command is wrong.
130, interrupted.
"""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fm_algo.answers.uncertainty import check_samples, score_uncertainty
from fm_algo.artifacts.artifact import StoredModel, save_model
from fm_algo.artifacts.builtin.artifact import save_builtin_model
from fm_algo.artifacts.export import LIBFM_FILE, save_libfm, save_npy, save_vectors
from fm_algo.artifacts.location import make_directory, read_from, write_to
from fm_algo.artifacts.remote import local_source
from fm_algo.data.formats.content_type import RECORDIO_PROTOBUF, parse_content_type
from fm_algo.data.formats.factory import ROW_TYPES, make_decoder
from fm_algo.data.formats.predictions import encode_jsonlines, uncertainty_extras
from fm_algo.errors import FMError, UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

_PROG = "python -m fm_algo"
_BLOCK_BYTES = 1 << 24

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

_PLACES = """\
SRC is a directory with model.safetensors (ours) or model_algo-1 (the built-in algorithm's), one of
these files, or model.tar.gz. Each path may be s3://bucket/key if boto3 is installed (fm-algo[aws]).
"""
_CONVERT = """\
Write a model in another layout.

  ours     model.safetensors
  builtin  model_algo-1, for programs that read the built-in algorithm's artifact
  npy      w0.npy, w.npy and V.npy
  libfm    model.libfm, the text that libFM loads
"""
_EXPORT_VECTORS = """\
Write items.npy and items.pbr, and users.npy and users.pbr, into the directory DST.

The inner product of a user's and an item's vector ranks the items as the model does. The .pbr
files are RecordIO-protobuf: items to train SageMaker's k-NN on (index_metric INNER_PRODUCT; the
label is the item's number, 0 for feature FIRST), users to ask it with.
"""
_SCORE = """\
Score the rows of DATA: a line of JSON a row on standard output, as the server answers.
With --uncertainty each has score_std and score_interval, too: for a model with samples.
"""
_FETCH = """\
Copy training data: a file, or all files directly in a directory or below a prefix, to DST.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit with 1 and one line on standard error if it cannot be done.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except (FMError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    except MemoryError:
        parser.exit(1, f"{parser.prog}: not enough memory for this model\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROG, description="Factorization machines: models and their vectors."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, about: str, command: Callable[[argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=about.splitlines()[0],
            description=about,
            epilog=_PLACES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command)
        added.add_argument(
            "source", type=_location, metavar="SRC", help="the model, or the data to fetch"
        )
        return added

    convert = add("convert", _CONVERT, _convert)
    convert.add_argument(
        "target",
        type=_location,
        metavar="DST",
        help="a directory, which is made if need be; or an archive to be: a name in .tar.gz",
    )
    convert.add_argument("--to", choices=_LAYOUTS, default="ours", help="default: %(default)s")

    vectors = add("export-vectors", _EXPORT_VECTORS, _export_vectors)
    vectors.add_argument(
        "target", type=_location, metavar="DST", help="a directory, or an archive as for convert"
    )
    vectors.add_argument(
        "--items", type=_range, required=True, metavar="FIRST:STOP", help="features of the items"
    )
    vectors.add_argument(
        "--users", type=_range, metavar="FIRST:STOP", help="features of the users; STOP excluded"
    )

    fetch = add("fetch", _FETCH, _fetch)
    fetch.add_argument(
        "target", type=_location, metavar="DST", help="a directory, which is made if need be"
    )

    score = add("score", _SCORE, _score)
    score.add_argument("data", type=_location, metavar="DATA", help="a file of rows")
    score.add_argument(
        "--content-type",
        default=RECORDIO_PROTOBUF,
        metavar="TYPE",
        help=f"one of {', '.join(ROW_TYPES)}; default: %(default)s",
    )
    score.add_argument(
        "--uncertainty", action="store_true", help="tell how sure the model is of each score"
    )
    return parser


def _convert(options: argparse.Namespace) -> None:
    read = read_from(options.source)
    save = _LAYOUTS[options.to]
    write_to(options.target, lambda directory: save(directory, read))
    if options.to != "ours":
        _tell_of_samples(read.model)


def _export_vectors(options: argparse.Namespace) -> None:
    model = read_from(options.source).model
    write_to(
        options.target,
        lambda directory: save_vectors(directory, model, options.items, options.users),
    )
    _tell_of_samples(model)


def _tell_of_samples(model: FMModel) -> None:
    """Say it where samples, which the scores of a model come from, have been left out."""
    if model.samples:
        sys.stderr.write(
            f"{_PROG}: the layout holds no samples: scores will be those of the single model, not "
            f"the mean of its {len(model.samples)} samples\n"
        )


def _fetch(options: argparse.Namespace) -> None:
    target = Path(options.target)
    with local_source(options.source, bool) as source:
        make_directory(target)
        is_file = source.is_file()
        files = [source] if is_file else filter(Path.is_file, sorted(source.iterdir()))
        for file in files:
            shutil.copyfile(os.fspath(file), os.fspath(target / file.name))


def _score(options: argparse.Namespace) -> None:
    model = read_from(options.source).model
    if options.uncertainty:
        check_samples(model)
    content_type = parse_content_type(options.content_type)
    decoder = make_decoder(content_type, feature_dim=model.feature_dim, labelled=False)
    with local_source(options.data, lambda _: False) as data:
        try:
            with data.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    _print_scores(model, decoder.feed(block), uncertainty=options.uncertainty)
                _print_scores(model, decoder.close(), uncertainty=options.uncertainty)
        except UserError as error:
            raise error.within(options.data) from error


def _print_scores(model: FMModel, rows: CSRBatch, *, uncertainty: bool) -> None:
    score = model.score(rows)
    known = uncertainty_extras(score_uncertainty(model, rows)) if uncertainty else []
    extras = dict(enumerate(known))
    lines = memoryview(encode_jsonlines(score, model.predicted_label(score), extras))
    # Bypass Python's buffer: after an error it would fail again when the process ends. An
    # unbuffered write may take fewer bytes than given, and report a full disk only the next time.
    out = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    while lines:
        lines = lines[out.write(lines) :]


def _location(text: str) -> str:
    """Refuse an empty path, as of an unset variable: it would mean the working directory."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return text


def _range(text: str) -> range:
    """Read FIRST:STOP."""
    match = re.fullmatch(r"(\d{1,10}):(\d{1,10})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST:STOP, e.g. 943:2625")
    return range(int(match[1]), int(match[2]))
