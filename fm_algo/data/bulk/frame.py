"""The loop that all compiled decoders share: it reads rows one by one into CSR arrays.

Each format registers the function that reads one row with `row_decoder`. The loop is compiled once
per format, together with that function. Numba's cache on disk notices only changes of this file.
After you change a function that the loop includes, run `make clean`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numba.extending
import numpy as np
from numpy.typing import NDArray

from fm_algo.data.bulk.memory import pointer
from fm_algo.runtime.jit import njit
from fm_algo.sparse import Float32Array, Int32Array, Int64Array

UInt8Array = NDArray[np.uint8]


class RowArrays(NamedTuple):
    """Arrays of a `CSRBatch`, with room after their rows.

    Attributes
    ----------
    indptr, indices, values : int64, int32, float32
        As in `CSRBatch`.
    labels : float32
        Empty if labels are not wanted.
    """

    indptr: Int64Array
    indices: Int32Array
    values: Float32Array
    labels: Float32Array


class Entries(NamedTuple):
    """Where the function that reads a row writes its entries.

    Attributes
    ----------
    indices, values : pointers to int32, float32
        As in `RowArrays`.
    limit : int
        How many entries there is room for, including those of earlier rows.
    """

    indices: Int32Array
    values: Float32Array
    limit: int


class Row(NamedTuple):
    """What the function that reads a row returns.

    Attributes
    ----------
    stop : int
        Where the row ends in the source. Below 0: the row is unusual or does not fit.
    entry : int
        The position after its last entry.
    label : float32
        Any number if labels are not wanted.
    """

    stop: int
    entry: int
    label: np.float32


class Form(Protocol):
    """How to read rows: a NamedTuple type of each format, by which Numba knows the format."""

    @property
    def labelled(self) -> bool:
        """Whether labels are wanted."""
        ...


UNUSUAL_ROW = Row(-1, 0, np.float32(0))

RowFunction = Callable[[UInt8Array, int, int, Any, Entries, int], Row]


def _decode_row(
    source: UInt8Array, at: int, size: int, form: Form, entries: Entries, entry: int
) -> Row:
    """Read the row at source[at], a source of `size` bytes; write its entries from `entry` on.

    When Numba compiles a call, it takes the function registered with `row_decoder` instead.
    """
    raise NotImplementedError


def row_decoder(form_type: type) -> Callable[[RowFunction], RowFunction]:
    """Register the compiled function that reads a row of a format.

    Parameters
    ----------
    form_type : type
        The format's `Form`. The loop finds the function by type, because Numba's cache on disk
        knows types. A function passed as an argument would have a new name in each process.
    """

    def register(function: RowFunction) -> RowFunction:
        # Without inlining, the call would cost up to a fifth of the time.
        @numba.extending.overload(_decode_row, jit_options={"forceinline": True})
        def choose(source, at, size, form, entries, entry):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            def call(source, at, size, form, entries, entry):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
                return function(source, at, size, form, entries, entry)

            return call if getattr(form, "instance_class", None) is form_type else None

        return function

    return register


@njit(nogil=True, cache=True)
def append_rows(
    source: UInt8Array, position: int, form: Form, rows: RowArrays, num_rows: int
) -> tuple[int, int]:
    """Append rows of a source to CSR arrays, up to the first that is unusual or does not fit.

    Parameters
    ----------
    source : uint8, shape (num_bytes,)
        Bytes of the format.
    position : int
        Where the first row begins.
    form : Form
        Its type has a `row_decoder`.
    rows : RowArrays
        The arrays to append to.
    num_rows : int
        How many rows the arrays hold already.

    Returns
    -------
    position : int
        Where the last decoded row ends.
    num_rows : int
        How many rows the arrays now hold.
    """
    indptr, indices, values, labels = rows  # once: taking arrays from a tuple counts references
    size = len(source)
    max_rows = min(len(indptr) - 1, len(labels)) if form.labelled else len(indptr) - 1
    entries = Entries(pointer(indices), pointer(values), min(len(indices), len(values)))
    data = pointer(source)
    while position < size and num_rows < max_rows:
        row = _decode_row(data, position, size, form, entries, indptr[num_rows])
        if row.stop < 0:
            break
        if form.labelled:
            labels[num_rows] = row.label
        num_rows += 1
        indptr[num_rows] = row.entry
        position = row.stop
    return position, num_rows
