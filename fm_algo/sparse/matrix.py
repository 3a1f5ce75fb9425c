"""Turn the matrices and labels that users pass into checked arrays.

Every check takes one or two passes over the numbers, in NumPy. Rows and features count from 0.
"""

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fm_algo.errors import UserError

if TYPE_CHECKING:
    import scipy.sparse

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Matrix: TypeAlias = "scipy.sparse.sparray | scipy.sparse.spmatrix | ArrayLike"
"""Rows of numbers: sparse, or dense of shape (num_rows, feature_dim)."""

MAX_FEATURE_DIM = 2**31 - 1
"""Feature numbers are int32 throughout: half the memory of int64, and wide enough."""

_NUMBERS, _WHOLE_NUMBERS = "biuf", "iu"
"""Kinds of NumPy dtypes."""


class Entries(NamedTuple):
    """The entries of a matrix, row by row.

    Attributes
    ----------
    indptr : int64, shape (num_rows + 1,)
        Where each row's entries begin; starts at 0 and never falls.
    indices : int32, shape (num_entries,)
        Columns, all below num_columns.
    values : float32, shape (num_entries,)
        All finite.
    num_columns : int
        At most MAX_FEATURE_DIM.
    """

    indptr: Int64Array
    indices: Int32Array
    values: Float32Array
    num_columns: int


def is_sparse(rows: object) -> bool:
    """Return whether a matrix is one of scipy's sparse ones, without importing scipy."""
    return hasattr(rows, "tocsr")


def find_entries(rows: Matrix) -> Entries:
    """Find the entries of a matrix and check them.

    Parameters
    ----------
    rows : sparse matrix or array of scipy, any format; or array of numbers, two dimensions
        The zeros of a dense one are not entries.

    Returns
    -------
    Entries
        Arrays that are of the right type already are shared, not copied.

    Raises
    ------
    UserError
        If it is not a matrix of finite real numbers, is too wide, or is damaged.
    """
    if is_sparse(rows):
        return _find_in_sparse(rows)
    values = to_finite_float32("rows", rows)
    check_is_matrix(values.shape)
    of_row, columns = np.nonzero(values)
    indptr = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.bincount(of_row, minlength=len(values)), out=indptr[1:])
    return Entries(indptr, columns.astype(np.int32), values[of_row, columns], values.shape[1])


def _find_in_sparse(rows: Any) -> Entries:  # noqa: ANN401 - scipy has no types
    check_is_matrix(rows.shape)
    num_rows, num_columns = rows.shape
    # Find damage before scipy's compiled code follows a damaged index.
    layout = getattr(rows, "format", "")
    if layout == "csc":
        num_entries = min(len(rows.indices), len(rows.data))
        _count_entries("columns", rows.indptr, num_columns, num_entries)
        _check_indices("column", "row", rows.indptr, rows.indices, num_rows)
    elif layout == "coo":
        _check_indices("entry", "row", None, rows.row, num_rows)
        _check_indices("entry", "feature", None, rows.col, num_columns)
    csr = rows.tocsr()
    return to_entries(csr.indptr, csr.indices, csr.data, (num_rows, num_columns))


def to_entries(
    indptr: NDArray[Any], indices: NDArray[Any], values: NDArray[Any], shape: tuple[int, int]
) -> Entries:
    """Check entries in compressed sparse row form and convert arrays of other types.

    Parameters
    ----------
    indptr : whole numbers, shape (num_rows + 1,)
    indices : whole numbers, shape (num_entries,) or longer
    values : real numbers, shape (num_entries,) or longer
    shape : (int, int)
        Rows and columns.

    Returns
    -------
    Entries
        Arrays that are of the right type already are shared, not copied.

    Raises
    ------
    UserError
        If they are not in that form, a column is outside the matrix, or a value is not finite as
        float32.
    """
    num_rows, num_columns = shape
    num_entries = _count_entries("rows", indptr, num_rows, min(len(indices), len(values)))
    indices, values = indices[:num_entries], values[:num_entries]
    _check_indices("row", "feature", indptr, indices, num_columns)
    narrow = _to_float32("rows", values)
    wrong = _first(~np.isfinite(narrow))
    if wrong is not None:
        raise UserError(
            f"rows hold {values[wrong]} at ({wrong},), allowed are finite float32 numbers: "
            f"row {_place(indptr, wrong)}, feature {indices[wrong]}"
        )
    return Entries(
        np.ascontiguousarray(indptr, np.int64),
        np.ascontiguousarray(indices, np.int32),
        np.ascontiguousarray(narrow),
        num_columns,
    )


def check_is_matrix(shape: tuple[int, ...]) -> None:
    """Check that a shape is one of rows.

    Raises
    ------
    UserError
        If it does not have two dimensions, or has too many columns.
    """
    if len(shape) != 2:
        raise UserError(
            f"rows of {len(shape)} dimensions, allowed are two: (num_rows, feature_dim)"
        )
    if shape[1] > MAX_FEATURE_DIM:
        raise UserError(f"rows of {shape[1]} columns, allowed are {MAX_FEATURE_DIM}")


def to_labels(labels: ArrayLike, num_rows: int, *, binary: bool = False) -> Float32Array:
    """Check labels and convert them.

    Parameters
    ----------
    labels : numbers, shape (num_rows,)
    num_rows : int
    binary : bool, optional
        Whether only 0 and 1 are allowed, the labels of a binary_classifier.

    Returns
    -------
    float32, shape (num_rows,)

    Raises
    ------
    UserError
        If there is not one per row, or one is not allowed.
    """
    numbers = to_finite_float32("labels", labels)
    if numbers.shape != (num_rows,):
        raise UserError(f"labels of shape {numbers.shape}, allowed is one a row: ({num_rows},)")
    wrong = _first((numbers != 0) & (numbers != 1)) if binary else None
    if wrong is not None:
        raise UserError(
            f"row {wrong}: label {numbers[wrong]:g} is not 0 or 1, the labels of a "
            f"binary_classifier{class_hint(numbers)}"
        )
    return np.ascontiguousarray(numbers)


def class_hint(labels: Float32Array) -> str:
    """Say how to write two classes that are not 0 and 1; "" where it is not clear what they are.

    Parameters
    ----------
    labels : float32, shape (n,)
    """
    found = set(np.unique(labels).tolist())
    if found <= {-1, 1}:
        return "; write 0 for -1"
    return "; write 0 for 1, and 1 for 2" if found == {1, 2} else ""


def to_weights(weights: ArrayLike, num_rows: int) -> Float32Array:
    """Check the weights of rows and convert them.

    Parameters
    ----------
    weights : numbers, shape (num_rows,)
    num_rows : int

    Returns
    -------
    float32, shape (num_rows,)

    Raises
    ------
    UserError
        If there is not one per row, or one is not finite or below 0.
    """
    numbers = to_finite_float32("weights", weights)
    if numbers.shape != (num_rows,):
        raise UserError(f"weights of shape {numbers.shape}, allowed is one per row: ({num_rows},)")
    wrong = _first(numbers < 0)
    if wrong is not None:
        raise UserError(f"row {wrong}: weight {numbers[wrong]:g}, allowed are numbers from 0")
    return np.ascontiguousarray(numbers)


def to_finite_float32(name: str, numbers: ArrayLike) -> Float32Array:
    """Convert numbers of any type and shape.

    Parameters
    ----------
    name : str
        What they are called in an error.
    numbers : array-like

    Returns
    -------
    float32, the same shape
        The array itself if it has that type already.

    Raises
    ------
    UserError
        If they are not an array of real numbers, or one is not finite as float32.
    """
    try:
        array = np.asarray(numbers)
    except ValueError as error:
        raise UserError(f"{name} are no array of numbers: {error}") from error
    narrow = _to_float32(name, array)
    finite = np.isfinite(narrow)
    if not finite.all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        raise UserError(
            f"{name} hold {array[place]} at {place}, allowed are finite float32 numbers"
        )
    return narrow


def _to_float32(name: str, array: NDArray[Any]) -> Float32Array:
    if array.dtype.kind not in _NUMBERS:
        raise UserError(f"{name} of dtype {array.dtype}, allowed are real numbers")
    with np.errstate(over="ignore"):  # becomes inf
        return array.astype(np.float32, copy=False)


def _count_entries(name: str, indptr: NDArray[Any], number: int, num_entries: int) -> int:
    """Check where `number` rows or columns begin and end; return how many entries they have."""
    is_sound = (
        number >= 0
        and indptr.dtype.kind in _WHOLE_NUMBERS
        and indptr.shape == (number + 1,)
        and indptr[0] == 0
        and indptr[-1] <= num_entries
        and not (indptr[1:] < indptr[:-1]).any()
    )
    if not is_sound:
        raise UserError(
            f"{number} {name} whose bounds, indptr, are {len(indptr)} numbers of dtype "
            f"{indptr.dtype}, allowed are {number + 1} whole ones that start at 0, never fall, and "
            f"end at {num_entries}, the number of entries, or before"
        )
    return int(indptr[-1])


def _check_indices(
    major: str, minor: str, indptr: NDArray[Any] | None, indices: NDArray[Any], stop: int
) -> None:
    """Check that each index is in [0, stop)."""
    if indices.dtype.kind not in _WHOLE_NUMBERS:
        raise UserError(f"{minor}s of dtype {indices.dtype}, allowed are whole numbers")
    if len(indices) and not (indices.min() >= 0 and indices.max() < stop):
        wrong = _first((indices < 0) | (indices >= stop)) or 0
        place = wrong if indptr is None else _place(indptr, wrong)
        raise UserError(f"{major} {place}: {minor} {indices[wrong]} is outside [0, {stop})")


def _place(indptr: NDArray[Any], entry: int) -> int:
    """Return the row, or column, that an entry is in."""
    return int(np.searchsorted(indptr, entry, side="right")) - 1


def _first(is_wrong: NDArray[np.bool_]) -> int | None:
    """Return where the first True is."""
    return int(is_wrong.argmax()) if is_wrong.any() else None
