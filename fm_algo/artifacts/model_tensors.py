"""What the tensors of a model's file are made from: a model, its samples and its tables."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from fm_algo.answers.vectors import fields_of, item_vectors, num_blocks
from fm_algo.artifacts.tensors import Tensor, map_tensors
from fm_algo.data.tables.encoder import named
from fm_algo.data.tables.tables import Tables, item_rows
from fm_algo.errors import UserError
from fm_algo.model import FMModel, PredictorType
from fm_algo.sparse import CSRBatch, Float32Array

OF_A_SAMPLE = "sample_"
OF_TABLES = "tables"
NAMES = {"w0", "w", "V"}
NAMES_WITH_SAMPLES = NAMES | {OF_A_SAMPLE + name for name in NAMES}

_BLOCK_NUMBERS = 1 << 20
"""Numbers written at once, 4 MB. Saving needs memory for only a few such blocks."""


class SlicedArray(Protocol):
    """An array that can be read in slices of its rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        ...

    def __getitem__(self, rows: slice, /) -> Float32Array: ...


class SlicedModel(Protocol):
    """A model that can be read in slices: an `FMModel`, or one spread over several hosts."""

    @property
    def predictor_type(self) -> PredictorType:
        """What the score means."""
        ...

    @property
    def w0(self) -> SlicedArray:
        """Bias, shape (1,)."""
        ...

    @property
    def w(self) -> SlicedArray:
        """Linear weights, shape (feature_dim,)."""
        ...

    @property
    def V(self) -> SlicedArray:  # noqa: N802 - its name in every paper
        """Factors, shape (feature_dim, num_factors)."""
        ...


def model_tensors(
    model: SlicedModel, samples: Sequence[FMModel], tables: Tables | None, path: Path
) -> dict[str, Tensor]:
    """Return all tensors of a model's file.

    Parameters
    ----------
    model : SlicedModel
    samples : sequence of FMModel
    tables : Tables or None
    path : Path
        Where the file lies while it is written.

    Returns
    -------
    dict of str to Tensor
        By name.

    Raises
    ------
    UserError
        If a sample is no model of these features, or not as wide as the others.
    """
    _check_alike(model, samples)
    tensors = {name: float_tensor(array) for name, array in _parameters(model).items()}
    for name in tuple(tensors) if samples else ():
        tensors[OF_A_SAMPLE + name] = float_tensor(*(_parameters(each)[name] for each in samples))
    if tables is None:
        return tensors
    of_tables = {name: Tensor.of(array) for name, array in tables.arrays().items()}
    items = item_rows(tables.encoder)
    if items is not None:
        of_tables |= _candidates(model, items, path)
    return tensors | named(OF_TABLES, of_tables)


def _check_alike(model: SlicedModel, samples: Sequence[FMModel]) -> None:
    """Check that samples fit into three tensors beside those of the model."""
    for number, sample in enumerate(samples):
        expected = model.predictor_type, model.w.shape[0], samples[0].num_factors
        found = sample.predictor_type, sample.feature_dim, sample.num_factors
        if found != expected or sample.samples:
            raise UserError(
                f"sample {number} is a {found[0]} of feature_dim {found[1]} and num_factors "
                f"{found[2]} with {len(sample.samples)} samples; expected {expected[0]}, "
                f"{expected[1]}, {expected[2]} and none, as the model and its first sample have"
            )


def float_tensor(*arrays: SlicedArray) -> Tensor:
    """Return an array, or several as one with a further dimension, that is written in blocks.

    A model in training is a view of the optimiser's rows or lies on several hosts. A copy of it
    may not fit in memory.

    Parameters
    ----------
    *arrays : SlicedArray
        Of float32, of one shape.
    """
    shape = arrays[0].shape

    def pieces() -> Iterator[Float32Array]:
        rows = max(1, _BLOCK_NUMBERS // math.prod(shape[1:]))
        for array in arrays:
            for first in range(0, shape[0], rows):
                yield array[first : first + rows]

    whole = shape if len(arrays) == 1 else (len(arrays), *shape)
    return Tensor(np.dtype(np.float32), whole, pieces)


def _candidates(model: SlicedModel, items: CSRBatch, path: Path) -> dict[str, Tensor]:
    """Return the vectors of items, which are computed in blocks, and their weights."""
    fields = fields_of(model, items.indices) if isinstance(model, FMModel) else None
    width = model.V.shape[1] * num_blocks(fields)
    weights = np.empty(items.num_rows, np.float32)

    def vectors() -> Iterator[Float32Array]:
        # A model that is not in memory is read from the file, in which it is by now.
        known = model if isinstance(model, FMModel) else _view_model(path, model.predictor_type)
        entries = max(1, _BLOCK_NUMBERS // width)
        first = 0
        while first < items.num_rows:
            limit = items.indptr[first] + entries
            stop = max(first + 1, int(np.searchsorted(items.indptr, limit, side="right")) - 1)
            stop = min(stop, first + entries)
            rows = items.rows(first, stop)
            V, weights[first:stop] = item_vectors(
                known, rows.indptr, rows.indices, rows.values, fields
            )
            yield V
            first = stop

    V = Tensor(np.dtype(np.float32), (items.num_rows, width), vectors)
    tensors = {"candidates.V": V, "candidates.w": Tensor.of(weights)}
    return tensors if fields is None else tensors | {"candidates.fields": Tensor.of(fields)}


def _view_model(path: Path, predictor_type: PredictorType) -> FMModel:
    """Return the model of a file, as views of it."""
    tensors = map_tensors(path, NAMES)
    return FMModel(predictor_type, tensors["w0"], tensors["w"], tensors["V"])


def _parameters(model: SlicedModel) -> dict[str, SlicedArray]:
    return {"w0": model.w0, "w": model.w, "V": model.V}
