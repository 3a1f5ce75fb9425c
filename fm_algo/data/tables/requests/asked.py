"""`Asked`: what a row given by names asks for beside its score, its key `configuration`.

    {"explain": true}
    {"uncertainty": true}
    {"top_k": 10, "exclude": ["i3", "i7"], "exclude_seen": true}
    {"similar": 10}

`"candidates": "COLUMN"` says which values `top_k` and `similar` choose from, where these are not
the rows of the items table.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from fm_algo.data.formats.jsonio import MAX_TOP_K, explain_error
from fm_algo.data.formats.number import shown
from fm_algo.data.tables.cells import Cell, Scalar
from fm_algo.data.tables.dictionary import UNKNOWN
from fm_algo.data.tables.named_items import NamedItems
from fm_algo.data.tables.named_model import Names
from fm_algo.data.tables.row_encoder import column_text
from fm_algo.errors import UserError
from fm_algo.sparse import Int32Array


class NamedConfiguration(msgspec.Struct, frozen=True):
    """What a row asks for beside its score.

    Attributes
    ----------
    explain : bool
        Whether to list the parts of its margin.
    uncertainty : bool
        Whether to tell how sure the model is of its score.
    top_k : int or None
        How many of the best candidates to return.
    exclude : list of text or number
        Candidates that are not to be among them.
    exclude_seen : bool
        Whether to leave out what the row's user has in the training rows.
    similar : int or None
        How many of the candidates that are most like the row's own one to return.
    candidates : str or None
        The column whose values are candidates; None: the rows of the items table.
    """

    explain: bool = False
    uncertainty: bool = False
    top_k: int | None = None
    exclude: list[Scalar] = []
    exclude_seen: bool = False
    similar: int | None = None
    candidates: str | None = None


class _Instance(msgspec.Struct, frozen=True):
    configuration: NamedConfiguration | None


_NOTHING = NamedConfiguration()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a row asks for, with the candidates found that it names.

    Attributes
    ----------
    configuration : NamedConfiguration
    items : NamedItems or None
        The candidates; None if neither `top_k` nor `similar` is asked for.
    exclude : int32
        Numbers of those that are not to be recommended.
    own : int
        Number of the row's own one, to which others are to be similar; UNKNOWN if it is none.
    """

    configuration: NamedConfiguration
    items: NamedItems | None
    exclude: Int32Array
    own: int


def find_asked(given: object, cells: Mapping[str, Cell], names: Names) -> Asked | None:
    """Read a configuration, and find what it names.

    Parameters
    ----------
    given : object
        The configuration, as JSON types.
    cells : mapping of str to cell
        Its row.
    names : Names
        Of the model.

    Returns
    -------
    Asked or None
        None if it asks for nothing.

    Raises
    ------
    UserError
        If it is no configuration, or the model cannot answer it; says what is allowed.
    """
    asked = _parse(given)
    if asked == _NOTHING:
        return None
    if asked.top_k is None and asked.similar is None:
        return Asked(asked, None, np.empty(0, np.int32), UNKNOWN)
    items = names.items(asked.candidates)
    exclude = items.numbers(asked.exclude)
    if asked.exclude_seen:
        exclude = np.concatenate([exclude, names.seen(cells, items.column)])
    own = UNKNOWN
    if asked.similar is not None:
        text = column_text(cells, items.column)
        if text is None:
            raise UserError(f"configuration has similar, but the row has no {items.column}")
        own = items.names.find(text)
    return Asked(asked, items, exclude, own)


def _parse(given: object) -> NamedConfiguration:
    keys = NamedConfiguration.__struct_fields__
    wrong = [key for key in given if key not in keys] if isinstance(given, dict) else []
    if wrong:
        found = shown(wrong[0].encode())
        raise UserError(f"configuration has the key {found}, allowed: {', '.join(keys)}")
    try:
        asked = msgspec.convert({"configuration": given}, _Instance).configuration
    except msgspec.ValidationError as error:
        raise UserError(explain_error(error, 0)) from error
    if asked is None:
        return _NOTHING
    for name, count in (("top_k", asked.top_k), ("similar", asked.similar)):
        if count is not None and not 1 <= count <= MAX_TOP_K:
            raise UserError(f"configuration: {name} is {count}, allowed: 1 to {MAX_TOP_K}")
    if (asked.exclude or asked.exclude_seen) and asked.top_k is None:
        name = "exclude" if asked.exclude else "exclude_seen"
        raise UserError(f"configuration has {name} without top_k, expected both or none")
    if asked.candidates is not None and asked.top_k is None and asked.similar is None:
        raise UserError("configuration has candidates without top_k or similar")
    return asked
