"""`ArrowEncoder`: turn record batches into rows of features, column by column."""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fm_algo.data.tables.arrow import columns as cells
from fm_algo.data.tables.arrow import texts as compiled
from fm_algo.data.tables.arrow.columns import CellError
from fm_algo.data.tables.arrow.sets import collect_sets
from fm_algo.data.tables.arrow.table_reader import TableReader
from fm_algo.data.tables.blocks import Block
from fm_algo.data.tables.cells import BLANKS, listed
from fm_algo.data.tables.columns import Column, Kind
from fm_algo.data.tables.dictionary import Dictionary
from fm_algo.data.tables.encoder import SideTable, TableEncoder
from fm_algo.data.tables.hashing import hash_text
from fm_algo.runtime.jit import njit
from fm_algo.sparse import CSRBatch, to_float32
from fm_algo.sparse.matrix import Float32Array, Int32Array, Int64Array

_Result = TypeVar("_Result")

_NONE = -1
"""In place of a feature: the cell has none."""


class _Singles(NamedTuple):
    """At most one entry per row: features int32 (n,), _NONE for none, and values (n,) or (1,)."""

    features: Int32Array
    values: Float32Array


class _Sets(NamedTuple):
    """Any number of entries per row, as in a CSRBatch."""

    indptr: Int64Array
    features: Int32Array
    values: Float32Array


class _Joined(NamedTuple):
    """The entries of rows of a side table: rows int64 (n,) of it."""

    rows: Int64Array
    indptr: Int64Array
    features: Int32Array
    values: Float32Array


_Part: TypeAlias = _Singles | _Sets | _Joined

_ONE = np.ones(1, np.float32)

_SHOWN, _SHOWN_WORD = 5, 100
"""How many words an error lists, and how many characters of each."""


class ArrowEncoder:
    """Turns record batches into rows of features.

    Parameters
    ----------
    encoder : TableEncoder
    num_threads : int, optional
        Columns are encoded side by side. Rows do not depend on it.
    blocks : sequence of Block, optional
        Those of a side table, to encode its rows; else those of the rows, and side tables joined.
    """

    def __init__(
        self,
        encoder: TableEncoder,
        num_threads: int = 1,
        blocks: Sequence[Block] | None = None,
    ) -> None:
        self._encoder = encoder
        of_rows = [block for block in encoder.blocks if block.table == "rows"]
        self._blocks = of_rows if blocks is None else blocks
        self._sides = encoder.sides if blocks is None else ()
        self._pool = ThreadPoolExecutor(num_threads) if num_threads > 1 else None
        self._label = _column_of("label", encoder)
        self._weight = _column_of("weight", encoder)

    def encode(self, batch: pa.RecordBatch, *, labelled: bool) -> CSRBatch:
        """Turn a record batch into rows.

        Parameters
        ----------
        batch : pyarrow.RecordBatch
            n rows, with all columns of the training table that have features.
        labelled : bool
            Whether rows have labels, and weights if there is a column of weights.

        Returns
        -------
        CSRBatch
            Features ascending within each row.

        Raises
        ------
        CellError
            At a cell that is not what its column holds; of the first such column the first cell.
        """
        run = map if self._pool is None else self._pool.map
        parts: list[_Part] = [*run(functools.partial(self._encode_block, batch), self._blocks)]
        parts += run(functools.partial(self._join, batch), self._sides)
        labels = self._labels(batch) if labelled else None
        weights = self._weights(batch) if labelled else None
        arrays = _assemble(parts, batch.num_rows)
        return CSRBatch(*arrays, labels, self._encoder.feature_dim, weights)

    def encode_keys(self, batch: pa.RecordBatch, side: SideTable) -> Int64Array:
        """Return the row of a side table that each row names, int64, (n,); n_keys if none."""
        found = _find_words(batch, side.key, side.keys)
        return np.where(found < 0, len(side.keys), found).astype(np.int64)

    def hash_words(self, batch: pa.RecordBatch, column: str) -> NDArray[np.uint64]:
        """Return the hash of each cell's word, uint64, (n,); of a missing one, that of none."""

        def hashed(array: pa.Array) -> NDArray[np.uint64]:
            words, codes = cells.to_words(array)
            hashes = compiled.hash_all(words)
            return hashes if codes is None else np.append(hashes, _HASH_OF_NONE)[codes]

        return on_column(batch, column, hashed)

    def _labels(self, batch: pa.RecordBatch) -> Float32Array | None:
        if self._label is None:
            return None
        if self._label.positive is None:
            return _all_numbers(batch, self._label)
        positive = self._label.positive.strip(BLANKS).encode()
        known = self._encoder.dictionaries.get(self._label.name)
        is_learnt = known is not None and len(known) > 0
        known = known if known is not None and is_learnt else Dictionary.of([positive])
        found = _find_words(batch, self._label.name, known)
        _check_all_there(found == compiled.MISSING, self._label)
        if is_learnt and (found == compiled.UNKNOWN).any():
            row = int((found == compiled.UNKNOWN).argmax())
            raise CellError(
                f"column {self._label.name}: {_shown(batch, self._label.name, row)} is no "
                f"label of the training rows: {listed_words(known)}",
                row,
            )
        is_positive: NDArray[np.bool_] = found == known.find(positive)
        return is_positive.astype(np.float32)

    def _weights(self, batch: pa.RecordBatch) -> Float32Array | None:
        if self._weight is None:
            return None
        weights = _all_numbers(batch, self._weight)
        if (weights < 0).any():
            row = int((weights < 0).argmax())
            raise CellError(
                f"column {self._weight.name}: the weight {weights[row]:g} is below 0", row
            )
        return weights

    def _encode_block(self, batch: pa.RecordBatch, block: Block) -> _Part:
        encode = functools.partial(encode_column, block=block, encoder=self._encoder)
        return on_column(batch, block.name, encode)

    def _join(self, batch: pa.RecordBatch, side: SideTable) -> _Joined:
        rows = self.encode_keys(batch, side)
        return _Joined(rows, side.indptr, side.indices, side.values)


def encode_table(
    reader: TableReader, encoder: ArrowEncoder, *, labelled: bool
) -> Iterator[CSRBatch]:
    """Yield the rows of a table, batch by batch.

    Raises
    ------
    UserError
        At the first cell that is not what its column holds; names line or row, column and value.
    """
    for batch in reader:
        with reader.naming_rows():
            rows = encoder.encode(batch, labelled=labelled)
        yield rows


def encode_column(array: pa.Array, block: Block, encoder: TableEncoder) -> _Singles | _Sets:
    """Turn the cells of one column into entries.

    Raises
    ------
    CellError
        Does not name the column.
    """
    column = block.column
    if column.kind in {"number", "bins"}:
        return _encode_numbers(cells.to_numbers(array), block)
    if column.kind == "set" or column.separator is not None:
        indptr, members = cells.to_sets(array, column.separator)
        found = _features(members, block, encoder)
        # A missing member counts for nothing; a missing hashed one is not a member either.
        found = np.where(members.starts == members.stops, _NONE, found).astype(np.int32)
        return _Sets(*collect_sets(indptr, found, is_root=column.scale == "root"))
    words, codes = cells.to_words(array)
    features = _features(words, block, encoder)
    if codes is None:
        return _Singles(features, _ONE)
    missing = _features(_NO_WORD, block, encoder)
    return _Singles(np.append(features, missing)[codes].astype(np.int32), _ONE)


_HASH_OF_NONE = np.uint64(hash_text(b""))
_NO_WORD = compiled.Texts(np.empty(0, np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64))


def _features(words: compiled.Texts, block: Block, encoder: TableEncoder) -> Int32Array:
    """Return the feature of each word; of a missing one that of missing cells."""
    if block.column.kind == "hash":
        mask = np.uint64(block.num_features - 1)
        return (block.first + (compiled.hash_all(words) & mask).astype(np.int64)).astype(np.int32)
    found = compiled.find(words, encoder.dictionaries[block.name])
    found += np.int32(block.first)  # MISSING and UNKNOWN stay below `first`
    found[found == block.first + compiled.UNKNOWN] = block.rare
    found[found == block.first + compiled.MISSING] = block.missing
    return found


def _encode_numbers(numbers: NDArray[np.float64], block: Block) -> _Singles:
    missing = np.isnan(numbers)
    if block.column.kind == "bins":
        features = block.first + np.searchsorted(block.edges, numbers, side="right")
        features[missing] = block.missing
        return _Singles(features.astype(np.int32), _ONE)
    scaled = (numbers - block.mean) / block.deviation
    features = np.where(missing | (scaled == 0), _NONE, block.first)
    return _Singles(features.astype(np.int32), to_float32(scaled))


def _shown(batch: pa.RecordBatch, name: str, row: int) -> str:
    return repr(str(batch.column(name)[row].as_py())[:_SHOWN_WORD])


def listed_words(known: Dictionary) -> str:
    """List the most frequent words of a column."""
    some = [
        repr(known.value(number).decode()[:_SHOWN_WORD])
        for number in range(min(len(known), _SHOWN))
    ]
    return ", ".join([*some, "…"] if len(known) > _SHOWN else some)


def _find_words(batch: pa.RecordBatch, name: str, dictionary: Dictionary) -> Int32Array:
    words, codes = on_column(batch, name, cells.to_words)
    found = compiled.find(words, dictionary)
    return found if codes is None else np.append(found, np.int32(compiled.MISSING))[codes]


def on_column(batch: pa.RecordBatch, name: str, work: Callable[[pa.Array], _Result]) -> _Result:
    """Return what `work` returns for a column; its errors then name the column.

    Raises
    ------
    CellError
        As from `work`; or if the type of the column is none that can be encoded.
    """
    if batch.schema.get_field_index(name) < 0:
        raise CellError(f"there is no column {name}; found are {listed(batch.schema.names)}", 0)
    array = cells.plain(batch.column(name))
    kind = array.type
    if not (cells.is_single(kind) or (cells.is_list(kind) and cells.is_single(kind.value_type))):
        raise CellError(f"column {name}: {kind} holds neither texts, numbers nor lists of them", 0)
    try:
        return work(array)
    except CellError as error:
        raise CellError(f"column {name}: {error.message}", error.row) from error


def _all_numbers(batch: pa.RecordBatch, column: Column) -> Float32Array:
    """Return the numbers of a column in which none may be missing, float32, shape (n,)."""
    numbers = on_column(batch, column.name, cells.to_numbers)
    _check_all_there(np.isnan(numbers), column)
    return numbers.astype(np.float32)


def _check_all_there(is_missing: NDArray[np.bool_], column: Column) -> None:
    if is_missing.any():
        row = int(is_missing.argmax())
        raise CellError(f"column {column.name}: a {column.kind} is missing", row)


def _column_of(kind: Kind, encoder: TableEncoder) -> Column | None:
    return next((column for column in encoder.columns if column.kind == kind), None)


def _assemble(parts: list[_Part], num_rows: int) -> tuple[Int64Array, Int32Array, Float32Array]:
    """Put the entries of all columns together, row by row."""
    indptr = np.zeros(num_rows + 1, np.int64)
    lengths = indptr[1:]
    for part in parts:
        match part:
            case _Singles(features, _):
                lengths += features != _NONE
            case _Sets(bounds, _, _):
                lengths += np.diff(bounds)
            case _Joined(rows, bounds, _, _):
                lengths += np.diff(bounds)[rows]
    np.cumsum(indptr, out=indptr)
    indices, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    place = indptr[:-1].copy()
    for part in parts:
        match part:
            case _Singles():
                _put_singles(*part, place, indices, values)
            case _Sets(bounds, features, numbers):
                _put_rows(np.arange(num_rows), bounds, features, numbers, place, indices, values)
            case _Joined(rows, bounds, features, numbers):
                _put_rows(rows, bounds, features, numbers, place, indices, values)
    return indptr, indices, values


@njit(nogil=True, cache=True)
def _put_singles(
    features: Int32Array,
    values: Float32Array,
    place: Int64Array,
    out: Int32Array,
    out_values: Float32Array,
) -> None:
    for row in range(len(features)):
        if features[row] != _NONE:
            out[place[row]] = features[row]
            out_values[place[row]] = values[0] if len(values) == 1 else values[row]
            place[row] += 1


@njit(nogil=True, cache=True)
def _put_rows(
    rows: Int64Array,
    indptr: Int64Array,
    features: Int32Array,
    values: Float32Array,
    place: Int64Array,
    out: Int32Array,
    out_values: Float32Array,
) -> None:
    for row in range(len(rows)):
        for entry in range(indptr[rows[row]], indptr[rows[row] + 1]):
            out[place[row]] = features[entry]
            out_values[place[row]] = values[entry]
            place[row] += 1
