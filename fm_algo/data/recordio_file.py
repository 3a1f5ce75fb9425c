"""Write matrices to RecordIO-protobuf files, and read them back.

write_recordio("train.pbr", matrix, labels)
matrix, labels = read_recordio("train.pbr")
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from fm_algo.data.formats.record import RecordIODecoder, survey_records
from fm_algo.data.formats.record_rows import encode_dense_rows, encode_sparse_rows
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.sparse.matrix import Matrix, check_is_matrix, is_sparse, to_finite_float32, to_labels

if TYPE_CHECKING:
    import scipy.sparse

Rows: TypeAlias = "CSRBatch | Matrix"
"""The kinds of rows that `write_recordio` takes."""

_GZIP_MAGIC = b"\x1f\x8b"


def write_recordio(
    target: str | os.PathLike[str] | BinaryIO,
    rows: Rows,
    labels: ArrayLike | None = None,
) -> None:
    """Write rows as RecordIO-protobuf, the format the built-in algorithm trains on.

    Parameters
    ----------
    target : path or binary file
        A path, whose file appears whole or not at all; or a binary file.
    rows : CSRBatch, sparse matrix of scipy, or array of numbers
        Sparse rows become sparse records with their entries as stored, except that the values of
        a feature that stands twice in a row are added up. An array becomes dense records; its
        shape is (num_rows, feature_dim), or (feature_dim,) for one row.
    labels : numbers, shape (num_rows,), optional
        One label per row; default those of a CSRBatch.

    Raises
    ------
    UserError
        If the rows are not a matrix of real numbers or are damaged, a number is not finite as
        float32, there are more or fewer labels than rows, or the rows have weights, for which
        records have no place.

    Notes
    -----
    For float32 input the bytes are those of `write_spmatrix_to_sparse_tensor` and
    `write_numpy_to_dense_tensor` of SageMaker's Python SDK.
    """
    records = _encode(rows, labels)
    if not isinstance(target, str | os.PathLike):
        target.writelines(records)
        return
    path = Path(target)
    aside = path.with_name(f".{path.name}.partial")
    try:
        with aside.open("wb") as file:
            file.writelines(records)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_recordio(
    source: str | os.PathLike[str] | BinaryIO, *, feature_dim: int | None = None
) -> "tuple[scipy.sparse.csr_array, Float32Array | None]":
    """Read RecordIO-protobuf, gzipped or not.

    Parameters
    ----------
    source : path or binary file
        Read to its end.
    feature_dim : int, optional
        Number of columns; by default the least that holds every shape, key and dense row.

    Returns
    -------
    rows : scipy.sparse.csr_array, float32, shape (num_rows, feature_dim)
        One row per record. Zeros of dense records are not stored.
    labels : float32, shape (num_rows,), or None
        None if no record has one.

    Raises
    ------
    UserError
        At the first record that cannot be read, or has no label although others have one.
    """
    # Not at the top: a server imports this package and does not need scipy.
    from scipy.sparse import csr_array  # noqa: PLC0415

    if isinstance(source, str | os.PathLike):
        try:
            batch = _decode(Path(source).read_bytes(), feature_dim)
        except UserError as error:
            raise error.within(str(source)) from error
    else:
        batch = _decode(source.read(), feature_dim)
    shape = (batch.num_rows, batch.feature_dim)
    return csr_array((batch.values, batch.indices, batch.indptr), shape=shape), batch.labels


def _decode(data: bytes, feature_dim: int | None) -> CSRBatch:
    if data.startswith(_GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"damaged gzip data: {error}") from error
    least_feature_dim, labelled = survey_records(data)
    decoder = RecordIODecoder(
        feature_dim=least_feature_dim if feature_dim is None else feature_dim, labelled=labelled
    )
    return CSRBatch.join([decoder.feed(data), decoder.close()])


def _encode(rows: Rows, labels: ArrayLike | None) -> Iterator[bytes]:
    """Check everything, then return an iterator over the framed records."""
    if isinstance(rows, CSRBatch) and rows.weights is not None:
        raise UserError("these rows have weights, which RecordIO-protobuf cannot hold")
    if isinstance(rows, CSRBatch) or is_sparse(rows):
        return encode_sparse_rows(CSRBatch.of(rows, labels))
    values = to_finite_float32("rows", rows)
    values = values[np.newaxis] if values.ndim == 1 else values
    check_is_matrix(values.shape)
    return encode_dense_rows(values, None if labels is None else to_labels(labels, len(values)))
