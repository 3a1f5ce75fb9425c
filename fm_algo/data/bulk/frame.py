"""The loop that all compiled decoders share: rows of a source, one by one, into CSR arrays.

What a row looks like is its format's affair: `row_decoder` says which function reads one. The loop
is compiled once per format, with that function in it. Numba's cache on disk notices changes of this
file alone. After a change of a function that the loop takes in, run `make clean`.
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
    """Arrays of a `CSRBatch`, with room behind their rows.

    Attributes
    ----------
    indptr, indices, values : int64, int32, float32
        As in `CSRBatch`.
    labels : float32
        Of no length where labels are not wanted.
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
        How many entries there is room for, those of earlier rows included.
    """

    indices: Int32Array
    values: Float32Array
    limit: int


class Row(NamedTuple):
    """What the function that reads a row gives back.

    Attributes
    ----------
    stop : int
        Behind the row in the source. Below 0: the row is unusual or does not fit.
    entry : int
        Behind its last entry.
    label : float32
        Anything, where labels are not wanted.
    """

    stop: int
    entry: int
    label: np.float32


class Form(Protocol):
    """What rows are to be read as: a NamedTuple of a format's own, from which Numba tells it."""

    @property
    def labelled(self) -> bool:
        """Whether labels are wanted."""
        ...


UNUSUAL_ROW = Row(-1, 0, np.float32(0))

RowFunction = Callable[[UInt8Array, int, int, Any, Entries, int], Row]


def _decode_row(
    source: UInt8Array, at: int, size: int, form: Form, entries: Entries, entry: int
) -> Row:
    """Read the row that begins at source[at], of `size` bytes; write its entries from `entry` on.

    Stands for the function that `row_decoder` finds when Numba compiles a call.
    """
    raise NotImplementedError


def row_decoder(form_type: type) -> Callable[[RowFunction], RowFunction]:
    """Name the compiled function that reads a row of a format.

    Parameters
    ----------
    form_type : type
        The format's `Form`. The loop asks by type, since Numba finds types in its cache on disk. A
        function handed to another one would have a new name there in each process.
    """

    def register(function: RowFunction) -> RowFunction:
        # Not inlined, the call would cost up to a fifth of the time.
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
    """Append the rows of a source to CSR arrays, up to the first that is unusual or does not fit.

    Parameters
    ----------
    source : uint8, shape (num_bytes,)
        Bytes of the format.
    position : int
        Where a row begins in it.
    form : Form
        One that has a `row_decoder`.
    rows : RowArrays
        Where they go.
    num_rows : int
        How many rows these hold.

    Returns
    -------
    position : int
        Behind the last row decoded.
    num_rows : int
        How many rows the arrays now hold.
    """
    indptr, indices, values, labels = rows  # once: taking an array from a tuple counts references
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
