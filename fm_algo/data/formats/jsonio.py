"""Requests in JSON (``application/json``), and rows in JSON Lines (``application/jsonlines``).

An instance is an object in one of these forms, and further keys of it do not matter:

    {"features": [1.5, 0.0, 2.0]}
    {"features": {"keys": [26, 182], "shape": [2000], "values": [1, 1]}}
    {"data": {"features": …}}                                   the same, one level down

A JSON request has them in a list, ``{"instances": […]}``; JSON Lines has one a line, where a number
`label` may stand beside the features. Forms may be mixed.

With keys (0-based, in any order, the values of one that stands twice are added up) a row is sparse
and its zeros are stored; without, it is dense: feature_dim numbers, whose zeros are not stored. No
keys, no values, but a shape: an empty row. As in RecordIO-protobuf, a shape of one number need not
be feature_dim, only keys from there on are wrong; a shape of several must have it as their product.

In serving an instance may ask for more than its score, by its key `configuration`:

    {"explain": true}
    {"top_k": 10, "candidates": {"first": 100, "last": 199}}

Source: developer guide, "Common data formats for inference", where a configuration is shown empty.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from fm_algo.data.formats.lines import BYTE_ORDER_MARK, LineDecoder
from fm_algo.data.formats.number import TOO_LARGE
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch, Float32Array, to_float32

MAX_TOP_K = 1000
"""So many recommendations are more than a page of them."""

_INSTANCES_AT_ONCE = 1024
"""Python objects of so many instances are alive at a time, however long the request."""


class Tensor(msgspec.Struct, gc=False):
    """Features as an object."""

    values: list[float] = []
    keys: list[float] | None = None
    shape: list[float] | None = None


class Data(msgspec.Struct, gc=False):
    """What may stand between an instance and its features."""

    features: list[float] | Tensor


class Instance(msgspec.Struct, gc=False):
    """One row."""

    features: list[float] | Tensor | UnsetType = UNSET
    data: Data | UnsetType = UNSET


class LabelledInstance(Instance, gc=False, kw_only=True):
    """One row to train on."""

    label: float


class Candidates(msgspec.Struct, frozen=True):
    """A range of features, both ends included."""

    first: int
    last: int


class Configuration(msgspec.Struct, frozen=True):
    """What an instance asks for beside its score.

    Attributes
    ----------
    explain : bool
        The parts of its margin.
    top_k : int or None
        So many of the candidates, the best for this instance.
    candidates : Candidates or None
        Given if and only if `top_k` is.
    """

    explain: bool = False
    top_k: int | None = None
    candidates: Candidates | None = None


_NOTHING_ASKED = Configuration()


class ServedInstance(Instance, gc=False):
    """One row to score."""

    configuration: Configuration | None = None


class Request(msgspec.Struct):
    """The body of a JSON request; its instances are still text."""

    instances: list[msgspec.Raw]


_request_decoder = msgspec.json.Decoder(Request)
_instance_decoder = msgspec.json.Decoder(ServedInstance)
_labelled_decoder = msgspec.json.Decoder(LabelledInstance)
_InstanceDecoder = msgspec.json.Decoder[ServedInstance] | msgspec.json.Decoder[LabelledInstance]


def decode_json(body: bytes, *, feature_dim: int) -> tuple[CSRBatch, dict[int, Configuration]]:
    """Turn the body of a JSON request into rows.

    Parameters
    ----------
    body : bytes
        ``{"instances": […]}``.
    feature_dim : int
        Number of features.

    Returns
    -------
    CSRBatch
        A row an instance, without labels.
    dict of int to Configuration
        What rows ask for beside their scores, by row; most ask for nothing and are not in it.

    Raises
    ------
    UserError
        If the body is not JSON, with the byte; if it is not a request or has no instances; at the
        first instance that is not a row of these features, with its number (0-based).
    """
    decoder = JSONDecoder(feature_dim=feature_dim)
    decoder.feed(body)
    batches, configurations, num_rows = [], {}, 0
    for batch, asked in decoder.close():
        batches.append(batch)
        configurations.update({num_rows + row: its for row, its in asked.items()})
        num_rows += batch.num_rows
    return CSRBatch.join(batches), configurations


class JSONDecoder:
    """A JSON request to rows.

    It is one document: all of it is in memory before the first row is decoded, but its rows are
    only some at a time.

    Parameters
    ----------
    feature_dim : int
        Number of features.
    """

    def __init__(self, *, feature_dim: int) -> None:
        self._feature_dim = feature_dim
        self._body = bytearray()  # grows in place, where a join would need as much again

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._body += data

    def close(self) -> Iterator[tuple[CSRBatch, dict[int, Configuration]]]:
        """Say that no bytes follow; yield rows, and what they ask for by row of theirs.

        Raises
        ------
        UserError
            As `decode_json`.
        """
        body = memoryview(self._body)
        if self._body.startswith(BYTE_ORDER_MARK):
            body = body[len(BYTE_ORDER_MARK) :]
        try:
            instances = _request_decoder.decode(body).instances
        except (msgspec.MsgspecError, RecursionError) as error:
            raise UserError(f"request: {_explain(error, len(body))}") from error
        if not instances:
            raise UserError("request: 'instances' is empty, expected one at least")
        rows = _Rows(_instance_decoder, self._feature_dim)
        for start in range(0, len(instances), _INSTANCES_AT_ONCE):
            items = instances[start : start + _INSTANCES_AT_ONCE]
            batch = rows.decode_all(items)
            if batch is None:
                batch = _decode_each(rows, items, start)
            yield batch, rows.take_configurations()


class JSONLinesDecoder(LineDecoder):
    """JSON Lines to rows; a `RowDecoder`.

    A blank line is no row: it may only stand after the last row.

    Parameters
    ----------
    feature_dim : int
        Number of features.
    labelled : bool
        True: each object must have a number `label`. False: a label, whatever it is, is passed
        over.
    """

    def __init__(self, *, feature_dim: int, labelled: bool) -> None:
        super().__init__(feature_dim=feature_dim, labelled=labelled)
        self._rows = _Rows(_labelled_decoder if labelled else _instance_decoder, feature_dim)

    def take_configurations(self) -> dict[int, Configuration]:
        """Return what the rows decoded since the last call ask for, by row of theirs."""
        return self._rows.take_configurations()

    def _decode_quickly(self, text: bytes) -> CSRBatch | None:
        return self._rows.decode_all(text[:-1].split(b"\n"))

    def _decode_line(self, line: bytes, number: int) -> CSRBatch:
        return self._rows.decode_one(line)


class _Rows:
    """Turns JSON texts, an instance each, into rows, and keeps what they ask for."""

    def __init__(self, decoder: _InstanceDecoder, feature_dim: int) -> None:
        self._configurations: dict[int, Configuration] = {}
        self._decoder = decoder
        self._feature_dim = feature_dim
        self._num_rows = 0  # since `take_configurations` was last called

    def decode_all(self, items: Sequence[bytes | msgspec.Raw]) -> CSRBatch | None:
        """Return the next rows; None, and nothing has happened, if anything is wrong with any."""
        try:
            return self._take([self._decoder.decode(item) for item in items])
        except (msgspec.MsgspecError, RecursionError, UserError):
            return None

    def decode_one(self, item: bytes | msgspec.Raw) -> CSRBatch:
        """Return the next row, or raise, not saying which it is."""
        try:
            return self._take([self._decoder.decode(item)])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise UserError(_explain(error, memoryview(item).nbytes)) from error

    def take_configurations(self) -> dict[int, Configuration]:
        """Return what the rows decoded since the last call ask for, by row of theirs."""
        taken, self._configurations, self._num_rows = self._configurations, {}, 0
        return taken

    def _take(self, instances: Sequence[Instance]) -> CSRBatch:
        asked = {
            row: instance.configuration
            for row, instance in enumerate(instances, self._num_rows)
            if isinstance(instance, ServedInstance)
            and instance.configuration is not None
            and instance.configuration != _NOTHING_ASKED
        }
        for configuration in asked.values():
            _check_configuration(configuration, self._feature_dim)
        batch = _to_batch(instances, self._feature_dim)
        self._configurations.update(asked)
        self._num_rows += len(instances)
        return batch


def _decode_each(rows: _Rows, items: Sequence[msgspec.Raw], first: int) -> CSRBatch:
    """Return the rows; raise at the first that is wrong, `first` being the number of items[0]."""
    batches = []
    for number, item in enumerate(items, first):
        try:
            batches.append(rows.decode_one(item))
        except UserError as error:
            raise UserError(f"instance {number}: {error.message}") from error
    return CSRBatch.join(batches)


def _check_configuration(configuration: Configuration, feature_dim: int) -> None:
    top_k, candidates = configuration.top_k, configuration.candidates
    if top_k is None and candidates is None:
        return
    if top_k is None or candidates is None:
        found, missing = ("candidates", "top_k") if top_k is None else ("top_k", "candidates")
        raise UserError(f"configuration has {found} without {missing}, expected both or none")
    if not 1 <= top_k <= MAX_TOP_K:
        raise UserError(f"configuration: top_k is {top_k}, allowed: 1 to {MAX_TOP_K}")
    if not 0 <= candidates.first <= candidates.last < feature_dim:
        raise UserError(
            f"configuration: candidates are {candidates.first} to {candidates.last}, allowed: "
            f"0 <= first <= last < {feature_dim}, which is feature_dim"
        )


def _to_batch(instances: Sequence[Instance], feature_dim: int) -> CSRBatch:
    """Return a row an instance; raise if any is none of these features, not saying which."""
    tensors = [_tensor_of(instance) for instance in instances]
    is_sparse = [_is_sparse(tensor, feature_dim) for tensor in tensors]
    if is_sparse == [True]:
        return _to_sparse_row(tensors[0], _labels_of(instances), feature_dim)
    lengths = [len(tensor.values) for tensor in tensors]
    indptr = np.zeros(len(tensors) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    has_key = np.repeat(is_sparse, lengths)  # (num_entries,)
    features = np.arange(indptr[-1], dtype=np.float64) - np.repeat(indptr[:-1], lengths)
    features[has_key] = _concatenate(tensor.keys or [] for tensor in tensors)
    numbers = _concatenate(tensor.values for tensor in tensors)
    values = to_float32(numbers)
    _check_entries(features, numbers, values, feature_dim)
    is_stored = has_key | (values != 0)
    return CSRBatch(
        np.concatenate([[0], np.cumsum(is_stored)])[indptr],
        features[is_stored].astype(np.int32),
        values[is_stored],
        _labels_of(instances),
        feature_dim,
    ).combine_duplicates()


def _to_sparse_row(tensor: Tensor, labels: Float32Array | None, feature_dim: int) -> CSRBatch:
    """Return what `_to_batch` does of one sparse instance, as one request mostly is."""
    features = np.array(tensor.keys or [], np.float64)
    numbers = np.array(tensor.values, np.float64)
    values = to_float32(numbers)
    _check_entries(features, numbers, values, feature_dim)
    indptr = np.array([0, len(features)], np.int64)
    indices = features.astype(np.int32)
    return CSRBatch(indptr, indices, values, labels, feature_dim).combine_duplicates()


def _concatenate(numbers: Iterable[list[float]]) -> NDArray[np.float64]:
    return np.fromiter(chain.from_iterable(numbers), np.float64)


def _tensor_of(instance: Instance) -> Tensor:
    at_top, below = instance.features, instance.data
    if at_top is not UNSET and below is not UNSET:
        raise UserError("both 'features' and 'data', expected one of them")
    features = at_top if below is UNSET else below.features
    if features is UNSET:
        raise UserError("neither 'features' nor 'data', expected one of them")
    return Tensor(values=features) if isinstance(features, list) else features


def _is_sparse(tensor: Tensor, feature_dim: int) -> bool:
    """Check how many numbers there are, and tell a sparse row from a dense one."""
    keys, shape, num_values = tensor.keys, tensor.shape, len(tensor.values)
    if shape is not None and len(shape) != 1 and math.prod(shape) != feature_dim:
        raise UserError(f"the product of shape {shape} is not {feature_dim}, which is feature_dim")
    if keys is not None:
        if len(keys) != num_values:
            raise UserError(f"{len(keys)} keys and {num_values} values, expected as many")
        return True
    if shape is not None and not num_values:
        return True
    if num_values != feature_dim:
        raise UserError(
            f"{num_values} values without keys, expected {feature_dim}, which is feature_dim"
        )
    return False


def _check_entries(
    features: NDArray[np.float64],
    numbers: NDArray[np.float64],
    values: Float32Array,
    feature_dim: int,
) -> None:
    """Check features, and the numbers by what they become as float32 values."""
    is_right = (features >= 0) & (features < feature_dim) & (features == np.floor(features))
    is_right &= np.isfinite(values)
    if is_right.all():
        return
    is_wrong = ~is_right
    entry = int(is_wrong.argmax())
    feature = float(features[entry])
    if not feature.is_integer():
        raise UserError(f"feature {feature:.17g} is not a whole number")
    if not 0 <= feature < feature_dim:
        raise UserError(
            f"feature {feature:.17g} is outside [0, {feature_dim}), the range feature_dim allows"
        )
    raise UserError(f"value {numbers[entry]:.17g} of feature {feature:.17g} {TOO_LARGE}")


def _labels_of(instances: Sequence[Instance]) -> Float32Array | None:
    numbers = [item.label for item in instances if isinstance(item, LabelledInstance)]
    if not numbers:
        return None
    labels = to_float32(np.array(numbers))
    if not np.isfinite(labels).all():
        raise UserError(f"label {numbers[int(np.isinf(labels).argmax())]:.17g} {TOO_LARGE}")
    return labels


def _explain(error: Exception, num_bytes: int) -> str:
    """Say in our words what msgspec found wrong with a text."""
    if isinstance(error, RecursionError):
        return "JSON is nested too deeply"
    what, _, path = str(error).partition(" - at `$")
    if not isinstance(error, msgspec.ValidationError):
        return what.replace("Input data was truncated", f"JSON ends too early (byte {num_bytes})")
    what = what[0].lower() + what[1:].replace("`float`", "number").replace("`", "'")
    where = path.removeprefix(".").removesuffix("`")
    return f"{what} at {where}" if where else what
