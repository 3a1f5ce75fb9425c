"""Decode JSON requests (``application/json``) and JSON Lines (``application/jsonlines``).

An instance is an object in one of these forms; other keys are ignored:

    {"features": [1.5, 0.0, 2.0]}
    {"features": {"keys": [26, 182], "shape": [2000], "values": [1, 1]}}
    {"data": {"features": …}}                                   the same, one level down

A JSON request has a list of instances, ``{"instances": […]}``. JSON Lines has one per line, where a
number `label` and a number `weight` may stand beside the features. Forms may be mixed.

With keys, a row is sparse, and its zeros are stored. Keys count from 0, in any order; the values of
a key that stands twice are added up. Without keys, a row is dense: feature_dim numbers, whose zeros
are not stored. A shape without keys and values is an empty row. As in RecordIO-protobuf, a shape of
one number may differ from feature_dim, but every key must be below feature_dim. A shape of several
numbers must have feature_dim as its product.

In serving, an instance can ask for more than its score by its key `configuration`:

    {"explain": true}
    {"uncertainty": true}
    {"top_k": 10, "candidates": {"first": 100, "last": 199}}

Source: developer guide, "Common data formats for inference", which shows an empty configuration.
"""

from collections.abc import Iterator, Sequence

import msgspec

from fm_algo.data.formats.instance_rows import Instance, LabelledInstance, instance_rows
from fm_algo.data.formats.lines import BYTE_ORDER_MARK, LineDecoder
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

MAX_TOP_K = 1000
"""Most recommendations per instance, more than a page shows."""

_INSTANCES_AT_ONCE = 1024
"""Python objects of this many instances are alive at a time, however long the request."""


class Candidates(msgspec.Struct, frozen=True):
    """A range of features, both ends included."""

    first: int
    last: int


class Configuration(msgspec.Struct, frozen=True):
    """What an instance asks for beside its score.

    Attributes
    ----------
    explain : bool
        Whether to list the parts of its margin.
    uncertainty : bool
        Whether to tell how sure the model is of its score.
    top_k : int or None
        How many of the best candidates to return.
    candidates : Candidates or None
        Given if and only if `top_k` is.
    """

    explain: bool = False
    uncertainty: bool = False
    top_k: int | None = None
    candidates: Candidates | None = None


_NOTHING_ASKED = Configuration()


class ServedInstance(Instance, gc=False):
    """One row to score."""

    configuration: Configuration | None = None


class Request(msgspec.Struct):
    """The body of a JSON request; the instances are still text."""

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
        One row per instance, without labels.
    dict of int to Configuration
        By row, what it asks for beside its score. Rows that ask for nothing are not in it.

    Raises
    ------
    UserError
        If the body is not JSON (names the byte), is not a request or has no instances; or at the
        first instance that is not a row of these features (names its number, 0-based).
    """
    decoder = JSONDecoder(feature_dim=feature_dim)
    decoder.feed(body)
    batches, configurations, num_rows = [], {}, 0
    for batch, asked in decoder.close():
        batches.append(batch)
        configurations.update({num_rows + row: its for row, its in asked.items()})
        num_rows += batch.num_rows
    return CSRBatch.join(batches), configurations


def split_instances(body: bytearray) -> list[msgspec.Raw]:
    """Return the instances of a JSON request, as text.

    Raises
    ------
    UserError
        If it is not JSON (names the byte), is not a request or has no instances.
    """
    text = memoryview(body)
    if body.startswith(BYTE_ORDER_MARK):
        text = text[len(BYTE_ORDER_MARK) :]
    try:
        instances = _request_decoder.decode(text).instances
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UserError(f"request: {explain_error(error, len(text))}") from error
    if not instances:
        raise UserError("request: 'instances' is empty, expected one at least")
    return instances


class JSONDecoder:
    """A JSON request to rows.

    The request is one document: all of it must be in memory before the first row is decoded. Of
    its rows, only some are in memory at a time.

    Parameters
    ----------
    feature_dim : int
        Number of features.
    """

    def __init__(self, *, feature_dim: int) -> None:
        self._feature_dim = feature_dim
        self._body = bytearray()  # grows in place; a join would need twice the memory

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._body += data

    def close(self) -> Iterator[tuple[CSRBatch, dict[int, Configuration]]]:
        """End the request; yield rows, and what they ask for by their row number.

        Raises
        ------
        UserError
            As from `decode_json`.
        """
        instances = split_instances(self._body)
        rows = InstanceRows(feature_dim=self._feature_dim)
        for start in range(0, len(instances), _INSTANCES_AT_ONCE):
            items = instances[start : start + _INSTANCES_AT_ONCE]
            yield rows.decode(items, "instance", start)


class JSONLinesDecoder(LineDecoder):
    """JSON Lines to rows; a `RowDecoder`.

    A blank line is not a row and may only stand after the last row.

    Parameters
    ----------
    feature_dim : int
        Number of features.
    labelled : bool
        True: each object must have a number `label`, and may have a number `weight` of at least 0,
        by default 1. False: both are skipped.
    """

    def __init__(self, *, feature_dim: int, labelled: bool) -> None:
        super().__init__(feature_dim=feature_dim, labelled=labelled)
        decoder = _labelled_decoder if labelled else _instance_decoder
        self._rows = InstanceRows(feature_dim=feature_dim, decoder=decoder)

    def take_configurations(self) -> dict[int, Configuration]:
        """Return what the rows decoded since the last call ask for, by row of theirs."""
        return self._rows.take_configurations()

    def _decode_quickly(self, text: bytes) -> CSRBatch | None:
        return self._rows.decode_all(text[:-1].split(b"\n"))

    def _decode_line(self, line: bytes, number: int) -> CSRBatch:
        return self._rows.decode_one(line)


class InstanceRows:
    """Turns JSON texts, one instance each, into rows, and keeps what they ask for.

    Parameters
    ----------
    feature_dim : int
        Width of the rows.
    decoder : msgspec.json.Decoder
        Of the instances.
    """

    def __init__(self, *, feature_dim: int, decoder: _InstanceDecoder = _instance_decoder) -> None:
        self._configurations: dict[int, Configuration] = {}
        self._decoder = decoder
        self._feature_dim = feature_dim
        self._num_rows = 0  # since `take_configurations` was last called

    def decode(
        self, items: Sequence[bytes | msgspec.Raw], what: str, first: int
    ) -> tuple[CSRBatch, dict[int, Configuration]]:
        """Return the next rows, and what they ask for by their row number.

        Parameters
        ----------
        items : sequence of texts
        what : str
            What an item is called in a message: instance or line.
        first : int
            Number of items[0] in a message.

        Raises
        ------
        UserError
            At the first wrong one.
        """
        batch = self.decode_all(items)
        if batch is None:
            batches = []
            for number, item in enumerate(items, first):
                try:
                    batches.append(self.decode_one(item))
                except UserError as error:
                    raise UserError(f"{what} {number}: {error.message}") from error
            batch = CSRBatch.join(batches)
        return batch, self.take_configurations()

    def decode_all(self, items: Sequence[bytes | msgspec.Raw]) -> CSRBatch | None:
        """Return the next rows; if one is wrong, return None and change nothing."""
        try:
            return self._take([self._decoder.decode(item) for item in items])
        except (msgspec.MsgspecError, RecursionError, UserError):
            return None

    def decode_one(self, item: bytes | msgspec.Raw) -> CSRBatch:
        """Return the next row; an error does not say which row it is."""
        try:
            return self._take([self._decoder.decode(item)])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise UserError(explain_error(error, memoryview(item).nbytes)) from error

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
        batch = instance_rows(instances, self._feature_dim)
        self._configurations.update(asked)
        self._num_rows += len(instances)
        return batch


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


def explain_error(error: Exception, num_bytes: int) -> str:
    """Say in our words what msgspec found wrong with a text of so many bytes."""
    if isinstance(error, RecursionError):
        return "JSON is nested too deeply"
    what, _, path = str(error).partition(" - at `$")
    if not isinstance(error, msgspec.ValidationError):
        return what.replace("Input data was truncated", f"JSON ends too early (byte {num_bytes})")
    what = what[0].lower() + what[1:].replace("`float`", "number").replace("`", "'")
    where = path.removeprefix(".").removesuffix("`")
    return f"{what} at {where}" if where else what
