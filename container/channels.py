"""A channel's directory to a stream of rows."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from container.job import Channel, TrainingJob
from container.settings import Paths
from fm_algo.bulk.factory import make_bulk_decoder
from fm_algo.errors import PlatformError, UserError
from fm_algo.formats.content_type import parse_content_type
from fm_algo.model import PredictorType
from fm_algo.sparse import CSRBatch

_READ_BYTES = 8 << 20
_GZIP_MAGIC = b"\x1f\x8b"


def read_channel(paths: Paths, job: TrainingJob, name: str) -> Iterator[CSRBatch]:
    """Read the labelled rows of a channel, file by file in the order of their paths.

    Every file below the channel's directory counts, whatever its name, save for empty ones and
    those whose name, or whose directory's, begins with "." or "_". Files that begin like gzip are
    unpacked. The directory is only read.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
        Names feature_dim, the predictor type and the channel's content type.
    name : str
        A channel of the job.

    Yields
    ------
    CSRBatch
        Some rows at a time, labels checked.

    Raises
    ------
    UserError
        At the first row that cannot be used, with channel, file and record; or if there is no row.
    PlatformError
        If a file cannot be read.
    """
    directory = paths.input_data / name
    place = f"{name} channel"
    files = _files(directory, place)
    num_rows = 0
    for file in files:
        where = f"{place}, {file.relative_to(directory)}"
        try:
            for batch in _read_file(file, job, job.channels[name]):
                num_rows += batch.num_rows
                yield batch
        except UserError as error:
            raise error.within(where) from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{where}: the gzip data is damaged: {error}") from error
        except OSError as error:
            raise PlatformError(f"{where}: {file} cannot be read: {error}") from error
    if not num_rows:
        raise UserError(f"{place} is empty: no rows in {len(files)} files below {directory}")


def _files(directory: Path, place: str) -> list[Path]:
    """List the data files of a channel, sorted, so that runs repeat."""
    if not directory.is_dir():
        raise UserError(f"{place}: {directory} does not exist")
    files = []
    for path in sorted(directory.rglob("*")):
        hidden = any(part.startswith((".", "_")) for part in path.relative_to(directory).parts)
        if not hidden and path.is_file() and path.stat().st_size:
            files.append(path)
    return files


def _read_file(file: Path, job: TrainingJob, channel: Channel) -> Iterator[CSRBatch]:
    hyperparameters = job.hyperparameters
    decoder = make_bulk_decoder(
        parse_content_type(channel.content_type),
        feature_dim=hyperparameters.feature_dim,
        labelled=True,
    )
    num_rows = 0
    with _open(file) as stream:
        while data := stream.read(_READ_BYTES):
            batch = decoder.feed(data)
            _check_labels(batch, hyperparameters.predictor_type, num_rows)
            num_rows += batch.num_rows
            yield batch
    batch = decoder.close()
    _check_labels(batch, hyperparameters.predictor_type, num_rows)
    yield batch


def _open(file: Path) -> BinaryIO:
    """Open for plain, sequential reading, unpacking gzip on the way."""
    with file.open("rb") as stream:
        is_gzip = stream.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    return cast("BinaryIO", gzip.open(file)) if is_gzip else file.open("rb")


def _check_labels(batch: CSRBatch, predictor_type: PredictorType, first_row: int) -> None:
    """Check what a classifier's labels may be; decoders have refused nan and inf already."""
    if predictor_type == "regressor":
        return
    labels = batch.require_labels()
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f"record {first_row + row}: label {labels[row]:g} is not 0 or 1, the labels of a "
            "binary_classifier"
        )
