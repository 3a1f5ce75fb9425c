"""Make the decoder for a content type."""

from typing import Literal, NamedTuple

from fm_algo.data.fields import Fields
from fm_algo.data.formats.content_type import (
    CSV,
    JSONLINES,
    LIBFFM,
    LIBSVM,
    RECORDIO_PROTOBUF,
    ContentType,
)
from fm_algo.data.formats.csv import CSVDecoder
from fm_algo.data.formats.decoder import RowDecoder
from fm_algo.data.formats.jsonio import JSONLinesDecoder
from fm_algo.data.formats.libffm import LibFFMDecoder
from fm_algo.data.formats.libsvm import LibSVMDecoder
from fm_algo.data.formats.record import RecordIODecoder
from fm_algo.errors import UserError

ROW_TYPES = (RECORDIO_PROTOBUF, CSV, LIBSVM, LIBFFM, JSONLINES)
"""Formats that list row after row; a channel may hold any of them."""


class DecoderTypes(NamedTuple):
    """The decoder classes to choose from; the compiled ones can replace these."""

    recordio: type[RecordIODecoder] = RecordIODecoder
    csv: type[CSVDecoder] = CSVDecoder
    libsvm: type[LibSVMDecoder] = LibSVMDecoder
    libffm: type[LibFFMDecoder] = LibFFMDecoder
    jsonlines: type[JSONLinesDecoder] = JSONLinesDecoder


_PLAIN = DecoderTypes()


def make_decoder(
    content_type: ContentType,
    *,
    feature_dim: int,
    labelled: bool,
    fields: Fields | None = None,
    types: DecoderTypes = _PLAIN,
) -> RowDecoder:
    """Return a new decoder for a source of this type.

    Parameters
    ----------
    content_type : ContentType
        Its parameters `label_size` (CSV; default 1 if labels are wanted, else 0) and `index_base`
        (libsvm and libffm; default 0) count.
    feature_dim : int
        Number of features.
    labelled : bool
        True: every row must have a label. False: labels are skipped.
    fields : Fields, optional
        What the fields of libffm text are compared with, or learnt by. Other formats have none.
    types : DecoderTypes
        The class for each format.

    Raises
    ------
    UserError
        With status 415 if rows of this type cannot be read, and with status 400 if a parameter is
        not 0 or 1. A JSON request is one object, not row after row:
        `fm_algo.data.formats.jsonio.decode_json` reads it.
    """
    name = content_type.name
    if name == RECORDIO_PROTOBUF:
        return types.recordio(feature_dim=feature_dim, labelled=labelled)
    if name == CSV:
        label_size = _read_choice(content_type, "label_size", default=1 if labelled else 0)
        return types.csv(feature_dim=feature_dim, labelled=labelled, label_size=label_size)
    if name == LIBSVM:
        index_base = _read_choice(content_type, "index_base", default=0)
        return types.libsvm(feature_dim=feature_dim, labelled=labelled, index_base=index_base)
    if name == LIBFFM:
        index_base = _read_choice(content_type, "index_base", default=0)
        return types.libffm(
            feature_dim=feature_dim, labelled=labelled, index_base=index_base, fields=fields
        )
    if name == JSONLINES:
        return types.jsonlines(feature_dim=feature_dim, labelled=labelled)
    raise UserError(
        f"content type {name!r} is not supported, allowed: {', '.join(ROW_TYPES)}", http_status=415
    )


def _read_choice(content_type: ContentType, name: str, *, default: Literal[0, 1]) -> Literal[0, 1]:
    text = content_type.parameters.get(name)
    if text is None:
        return default
    choices: dict[str, Literal[0, 1]] = {"0": 0, "1": 1}
    if text not in choices:
        raise UserError(f"{content_type.name} has {name}={text!r}, allowed: 0 or 1")
    return choices[text]
