"""Decode a request of any format, piece by piece, to rows and what they carry or ask for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fm_algo.data.fields import Fields
from fm_algo.data.formats.content_type import JSON, RECORDIO_PROTOBUF, ContentType
from fm_algo.data.formats.decoder import RowDecoder
from fm_algo.data.formats.factory import make_decoder
from fm_algo.data.formats.jsonio import Configuration, JSONDecoder, JSONLinesDecoder
from fm_algo.data.formats.record_notes import RecordNotes
from fm_algo.data.formats.record_request import NotedRecordsDecoder
from fm_algo.sparse import CSRBatch


@dataclass(frozen=True, slots=True)
class RequestRows:
    """Some of the rows of a request.

    Attributes
    ----------
    batch : CSRBatch
        Without labels.
    notes : sequence of RecordNotes or None
        One per row, if the format has notes.
    configurations : mapping of int to Configuration
        What rows ask for beside their scores, by row number in this batch.
    """

    batch: CSRBatch
    notes: Sequence[RecordNotes] | None = None
    configurations: Mapping[int, Configuration] = field(default_factory=dict)


class RequestDecoder(Protocol):
    """Turns the bytes of a request, fed in pieces of any size, into rows.

    `feed` and `close` raise the errors of a `RowDecoder`, after they have yielded the rows before
    the mistake.
    """

    def feed(self, data: bytes) -> Iterator[RequestRows]:
        """Take the next bytes; yield the rows they complete."""
        ...

    def close(self) -> Iterator[RequestRows]:
        """End the request; yield the last rows."""
        ...


def make_request_decoder(
    content_type: ContentType, *, feature_dim: int, fields: Fields | None = None
) -> RequestDecoder:
    """Return a new decoder for a request of this type.

    Parameters
    ----------
    content_type : ContentType
        A type of `make_decoder`, or JSON.
    feature_dim : int
        Number of features.
    fields : Fields, optional
        Of the model, if its features have fields; see `make_decoder`.

    Raises
    ------
    UserError
        As from `make_decoder`.
    """
    if content_type.name == JSON:
        return _JSON(JSONDecoder(feature_dim=feature_dim))
    if content_type.name == RECORDIO_PROTOBUF:
        return _Records(NotedRecordsDecoder(feature_dim=feature_dim))
    decoder = make_decoder(content_type, feature_dim=feature_dim, labelled=False, fields=fields)
    return _JSONLines(decoder) if isinstance(decoder, JSONLinesDecoder) else _Plain(decoder)


class _JSON:
    def __init__(self, decoder: JSONDecoder) -> None:
        self._decoder = decoder

    def feed(self, data: bytes) -> Iterator[RequestRows]:
        self._decoder.feed(data)
        return iter(())

    def close(self) -> Iterator[RequestRows]:
        for batch, configurations in self._decoder.close():
            yield RequestRows(batch, configurations=configurations)


class _Records:
    def __init__(self, decoder: NotedRecordsDecoder) -> None:
        self._decoder = decoder

    def feed(self, data: bytes) -> Iterator[RequestRows]:
        for batch, notes in self._decoder.feed(data):
            yield RequestRows(batch, notes)

    def close(self) -> Iterator[RequestRows]:
        for batch, notes in self._decoder.close():
            yield RequestRows(batch, notes)


class _JSONLines:
    def __init__(self, decoder: JSONLinesDecoder) -> None:
        self._decoder = decoder

    def feed(self, data: bytes) -> Iterator[RequestRows]:
        batch = self._decoder.feed(data)
        yield RequestRows(batch, configurations=self._decoder.take_configurations())

    def close(self) -> Iterator[RequestRows]:
        batch = self._decoder.close()
        yield RequestRows(batch, configurations=self._decoder.take_configurations())


class _Plain:
    def __init__(self, decoder: RowDecoder) -> None:
        self._decoder = decoder

    def feed(self, data: bytes) -> Iterator[RequestRows]:
        yield RequestRows(self._decoder.feed(data))

    def close(self) -> Iterator[RequestRows]:
        yield RequestRows(self._decoder.close())
