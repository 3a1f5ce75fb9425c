"""Instances as objects, in JSON and JSON Lines: cells by name, or numbered features as ever.

An instance with `features` or `data` is one of `fm_algo.data.formats.jsonio`. In any other, each
key but `configuration` is a column. Both may stand in one request.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from fm_algo.data.formats.jsonio import InstanceRows, explain_error, split_instances
from fm_algo.data.formats.lines import Block, LineCutter
from fm_algo.data.formats.request import RequestRows
from fm_algo.data.tables.named_model import Names
from fm_algo.data.tables.requests.asked import Asked, find_asked
from fm_algo.data.tables.requests.rows import NamedRows, RowCounter, encode_rows
from fm_algo.errors import UserError

_NOT_READ = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)

_Items = Sequence[bytes | msgspec.Raw]


class _Kind(msgspec.Struct, gc=False):
    """What tells numbered instances: one of these keys, whatever it holds."""

    features: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_kind_decoder = msgspec.json.Decoder(_Kind)
_cells_decoder = msgspec.json.Decoder(dict[str, Any])


class JSONInstances:
    """A JSON request; a `RequestDecoder`.

    Parameters
    ----------
    names : Names
        Of the model.
    """

    def __init__(self, names: Names) -> None:
        self._instances = _Instances(names, "instance")
        self._body = bytearray()

    def feed(self, data: bytes) -> Iterator[RequestRows]:
        """Take the next bytes; the request is one document, so no row is complete yet."""
        self._body += data
        return iter(())

    def close(self) -> Iterator[RequestRows]:
        """End the request; yield its rows.

        Raises
        ------
        UserError
            If the body is not a JSON request, or at the first instance that is no row.
        """
        yield from self._instances.decode(split_instances(self._body), 0)


class JSONLinesInstances:
    """JSON Lines of instances; a `RequestDecoder`.

    Parameters
    ----------
    names : Names
        Of the model.
    """

    def __init__(self, names: Names) -> None:
        self._instances = _Instances(names, "line")
        self._cutter = LineCutter()

    def feed(self, data: bytes) -> Iterator[RequestRows]:
        """Take the next bytes; yield the rows they complete.

        Raises
        ------
        UserError
            At the first line that is no row.
        """
        return self._decode(self._cutter.feed(data))

    def close(self) -> Iterator[RequestRows]:
        """End the request; yield its last row if that row's line has no LF.

        Raises
        ------
        UserError
            As from `feed`.
        """
        return self._decode(self._cutter.close())

    def _decode(self, blocks: Iterator[Block]) -> Iterator[RequestRows]:
        for block in blocks:
            yield from self._instances.decode(block.text[:-1].split(b"\n"), block.first_line)


class _Instances:
    """Turns JSON texts, one instance each, into rows.

    Parameters
    ----------
    names : Names
        Of the model.
    what : str
        What an item is called in a message: instance or line.
    """

    def __init__(self, names: Names, what: str) -> None:
        self._names = names
        self._rows = names.rows
        self._numbered = InstanceRows(feature_dim=self._rows.encoder.feature_dim)
        self._counter = RowCounter(self._rows)
        self._what = what

    def decode(self, items: _Items, first: int) -> Iterator[RequestRows]:
        """Yield the rows; `first` is the number of items[0] in a message."""
        for start in range(0, len(items), self._counter.at_once):
            some = items[start : start + self._counter.at_once]
            number = first + start
            for is_numbered, its in groupby(some, _is_numbered):
                run = list(its)
                if is_numbered:
                    batch, asked = self._numbered.decode(run, self._what, number)
                    yield RequestRows(batch, configurations=asked)
                else:
                    yield self._decode_named(run, number)
                number += len(run)

    def _decode_named(self, items: _Items, first: int) -> NamedRows:
        self._counter.take(len(items))
        rows: list[dict[str, Any]] = []
        asked: dict[int, Asked] = {}
        for number, item in enumerate(items):
            try:
                cells = _cells_decoder.decode(item)
                if "configuration" in cells:
                    its = find_asked(cells.pop("configuration"), cells, self._names)
                    if its is not None:
                        asked[number] = its
            except (*_NOT_READ, UserError) as error:
                what = error.message if isinstance(error, UserError) else _explain(error, item)
                raise UserError(f"{self._what} {first + number}: {what}") from error
            rows.append(cells)
        encoded = encode_rows(self._rows, rows, lambda row: f"{self._what} {first + row}")
        return NamedRows(encoded.batch, asked=asked, unknown=encoded.unknown)


def _is_numbered(item: bytes | msgspec.Raw) -> bool:
    try:
        kind = _kind_decoder.decode(item)
    except _NOT_READ:
        return False  # whoever decodes it says what is wrong
    return kind.features is not msgspec.UNSET or kind.data is not msgspec.UNSET


def _explain(error: Exception, item: bytes | msgspec.Raw) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"a text is not UTF-8: {error.reason}"
    return explain_error(error, memoryview(item).nbytes).removesuffix(" at [...]")
