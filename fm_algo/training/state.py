"""Types of a learner's state: arrays by name, which checkpoints and hosts read and write."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fm_algo.model import FieldWeights, FMModel
from fm_algo.sparse import Float32Array


@runtime_checkable
class SharedArray(Protocol):
    """An array whose rows lie on several hosts; read and written in blocks of bytes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of each number."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        ...

    def __setitem__(self, rows: Any, values: Any) -> None:  # noqa: ANN401 - as NumPy's
        ...

    def blocks(self, block_bytes: int) -> Iterator[memoryview]:
        """Yield the bytes of all rows, in order."""
        ...

    def blocks_to_fill(self, block_bytes: int) -> Iterator[memoryview]:
        """Yield blocks of the same sizes to fill; each is stored before the next is yielded."""
        ...


State = Mapping[str, NDArray[Any] | SharedArray]
"""Arrays by name, contiguous, of numbers, any shape."""


class ArrayForm(NamedTuple):
    """Shape and type of one array of a state.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        As NumPy spells it: "<f4".
    """

    shape: tuple[int, ...]
    dtype: str


Forms = Mapping[str, ArrayForm]
"""Shapes and types of the arrays of a state, by name."""


class WritableArray(Protocol):
    """An array whose rows can be assigned, slice by slice."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        ...

    def __setitem__(self, rows: slice, values: Float32Array | float, /) -> None: ...


class ParameterStore(Protocol):
    """A place to write a model's parameters to, in blocks of features; an `FMModel` is one."""

    @property
    def w0(self) -> WritableArray:
        """Bias, shape (1,)."""
        ...

    @property
    def w(self) -> WritableArray:
        """Linear weights, shape (feature_dim,)."""
        ...

    @property
    def V(self) -> WritableArray:  # noqa: N802 - its name in every paper
        """Factors, shape (feature_dim, num_factors)."""
        ...

    @property
    def field_weights(self) -> FieldWeights | None:
        """Weights of pairs of fields, if there are any."""
        ...


def write_model(model: FMModel, store: ParameterStore) -> None:
    """Write all parameters of a model to a store."""
    store.w0[:], store.w[:], store.V[:] = model.w0, model.w, model.V
    if store.field_weights is not None and model.field_weights is not None:
        store.field_weights.R[:] = model.field_weights.R
