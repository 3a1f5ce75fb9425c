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

from fm_algo.data.formats.jsonio import MAX_TOP_K, explain_error
from fm_algo.data.tables.cells import Cell, Scalar
from fm_algo.errors import UserError

MAX_EXCLUDED = 100_000
"""Most names that a row may exclude."""


class NamedConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


NOTHING_ASKED = NamedConfiguration()


@dataclass(frozen=True, slots=True)
class Asked:
    """A row that asks for more than its score.

    Attributes
    ----------
    configuration : NamedConfiguration
    cells : mapping of str to cell
        The row, by name of the column.
    """

    configuration: NamedConfiguration
    cells: Mapping[str, Cell]


def parse_configuration(given: object) -> NamedConfiguration:
    """Read and check a configuration.

    Raises
    ------
    UserError
        If it is none; says what is allowed.
    """
    try:
        asked = msgspec.convert({"configuration": given}, _Instance).configuration
    except msgspec.ValidationError as error:
        allowed = ""
        if "unknown field" in str(error):
            allowed = f"; allowed: {', '.join(NamedConfiguration.__struct_fields__)}"
        raise UserError(explain_error(error, 0) + allowed) from error
    if asked is None:
        return NOTHING_ASKED
    for name, count in (("top_k", asked.top_k), ("similar", asked.similar)):
        if count is not None and not 1 <= count <= MAX_TOP_K:
            raise UserError(f"configuration: {name} is {count}, allowed: 1 to {MAX_TOP_K}")
    needs = [name for name in ("exclude", "exclude_seen") if getattr(asked, name)]
    if needs and asked.top_k is None:
        raise UserError(f"configuration has {needs[0]} without top_k, expected both or none")
    if asked.candidates is not None and asked.top_k is None and asked.similar is None:
        raise UserError("configuration has candidates without top_k or similar, expected one")
    if len(asked.exclude) > MAX_EXCLUDED:
        raise UserError(
            f"configuration: exclude has {len(asked.exclude)} names, allowed: {MAX_EXCLUDED}"
        )
    return asked
