"""What a way of learning is made of, as checkpoints and hosts see it: arrays by name."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fm_algo.model import FMModel
from fm_algo.sparse import Float32Array


@runtime_checkable
class SharedArray(Protocol):
    """An array whose rows lie on several hosts; read and written in blocks of its bytes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of each number."""
        ...

    @property
    def nbytes(self) -> int:
        """Of the whole."""
        ...

    def __setitem__(self, rows: Any, values: Any) -> None:  # noqa: ANN401 - as NumPy's
        ...

    def blocks(self, block_bytes: int) -> Iterator[memoryview]:
        """Yield the bytes of all rows, in order."""
        ...

    def blocks_to_fill(self, block_bytes: int) -> Iterator[memoryview]:
        """Yield blocks of the same sizes; what is written to one is taken before the next."""
        ...


State = Mapping[str, NDArray[Any] | SharedArray]
"""Arrays by name, contiguous, of numbers, any shape."""


class ArrayForm(NamedTuple):
    """What an array of a state looks like.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        As NumPy spells it: "<f4".
    """

    shape: tuple[int, ...]
    dtype: str


Forms = Mapping[str, ArrayForm]
"""What the arrays of a state look like, by name."""


class WritableArray(Protocol):
    """What slices of an array's rows can be assigned to."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        ...

    def __setitem__(self, rows: slice, values: Float32Array | float, /) -> None: ...


class ParameterStore(Protocol):
    """Where a model's parameters are written to, in blocks of features; an `FMModel` is one."""

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


def write_model(model: FMModel, store: ParameterStore) -> None:
    """Write all parameters of a model to where they are kept."""
    store.w0[:], store.w[:], store.V[:] = model.w0, model.w, model.V
