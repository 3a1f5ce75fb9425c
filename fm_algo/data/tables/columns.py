"""What a table's columns are: the hyperparameter `columns`, read and checked.

    {"rating": "label", "user": "category", "genres": {"set": "|"}, "age": {"bins": 8}}

A column is a word, or an object for a kind with options. `{"set": "|"}`, `{"bins": 8}`,
`{"hash": 18}` and `{"label": "yes"}` are short for `{"kind": "set", "separator": "|"}` and so on.
`"*": "ignore"` says what all other columns are.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

import msgspec

from fm_algo.errors import UserError

Kind = Literal["label", "weight", "ignore", "category", "set", "number", "bins", "hash"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MIN_COUNT = 2
"""Default of `min_count`. A value seen once teaches more of rare values than of itself, and with 1
nothing would be learnt of them, although all values that are new in serving stand for one."""

OTHERS = "*"
"""Stands for all columns that are not named."""

RESERVED = ("configuration", "data", "features")
"""Keys that mean something else in a JSON instance; no column can have them as its name."""

_UNNAMED_INDEX = re.compile(r"__index_level_\d+__$")

_SHORT_FORMS = {"label": "positive", "set": "separator", "bins": "bins", "hash": "bits"}
_ALLOWED = (
    'label, {"label": POSITIVE}, weight, ignore, category, number, {"set": SEPARATOR}, '
    '{"bins": COUNT}, {"hash": BITS}'
)


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column of a table.

    Attributes
    ----------
    name : str
    kind : {"label", "weight", "ignore", "category", "set", "number", "bins", "hash"}
        - label, weight: a number per row; or, with `positive`, a word. ignore: nothing.
        - category: a feature per value, one for all rare and unknown ones.
        - set: a feature per member of a list, or of a text cut at `separator`.
        - number: one feature, standardised by the training rows.
        - bins: a feature per quantile bin, and one for missing numbers.
        - hash: 2^bits features; a value (or each member, with a separator) belongs to one.
    separator : str or None
        What stands between the members of a text; None if a text is one member.
    min_count : int
        How often a category or a member must occur to have a feature of its own.
    bins : int
        How many bins.
    bits : int
        Binary logarithm of how many features.
    scale : {"root", "one"}
        Value of each of the n members of a set: 1/√n or 1.
    positive : str or None
        Of labels that are words: the one that is label 1; all others are 0.
    """

    name: Annotated[str, msgspec.Meta(min_length=1)]
    kind: Kind
    separator: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    min_count: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = MIN_COUNT
    bins: Annotated[int, msgspec.Meta(ge=2, le=4096)] = 16
    bits: Annotated[int, msgspec.Meta(ge=1, le=30)] = 18
    scale: Literal["root", "one"] = "root"
    positive: Annotated[str, msgspec.Meta(min_length=1)] | None = None

    @property
    def is_text(self) -> bool:
        """Whether its cells are words rather than numbers."""
        return self.kind in {"category", "set", "hash"}

    @property
    def has_features(self) -> bool:
        """Whether it becomes features."""
        return self.kind not in {"label", "weight", "ignore"}

    @property
    def is_learnt(self) -> bool:
        """Whether its features depend on the training rows."""
        return self.has_features and self.kind != "hash"


_OPTIONS: dict[str, tuple[str, ...]] = {
    "label": ("positive",),
    "weight": (),
    "ignore": (),
    "category": ("min_count",),
    "set": ("separator", "min_count", "scale"),
    "number": (),
    "bins": ("bins",),
    "hash": ("bits", "separator"),
}


def without_index(names: Sequence[str]) -> list[str]:
    """Leave out the row labels that pandas adds as columns.

    They number rows, and say nothing of them.
    """
    return [name for name in names if not _UNNAMED_INDEX.match(name)]


def parse_columns(described: Mapping[str, object], min_count: int = MIN_COUNT) -> dict[str, Column]:
    """Read the hyperparameter `columns`.

    Parameters
    ----------
    described : mapping of str to object
        By name of the column, a word or an object.
    min_count : int, optional
        That of categories and sets that do not give their own.

    Returns
    -------
    dict of str to Column
        In the same order.

    Raises
    ------
    UserError
        Lists every mistake: the column, what was found and what is allowed.
    """
    columns, problems = {}, []
    for name, given in described.items():
        try:
            columns[name] = _parse_column(name, given, min_count)
        except UserError as error:
            problems.append(f"{name}: {error.message}")
    for kind in ("label", "weight"):
        named = [name for name, column in columns.items() if column.kind == kind]
        if len(named) > 1:
            problems.append(f"{' and '.join(named)} are {kind} columns, allowed is one")
    if not described:
        problems.append("no column is named, expected one at least")
    if problems:
        raise UserError(f"columns: {'; '.join(problems)}")
    return columns


def _parse_column(name: str, given: object, min_count: int) -> Column:
    if name == OTHERS and _options_of(given)["kind"] in {"label", "weight"}:
        raise UserError("other columns cannot all be labels or weights; name the one that is")
    if name in RESERVED:
        raise UserError(f"a column cannot have this name; not allowed are {', '.join(RESERVED)}")
    options = _options_of(given)
    allowed = _OPTIONS[options["kind"]]
    wrong = sorted(options.keys() - {"kind", *allowed})
    if wrong:
        which = ", ".join(allowed) or "none"
        raise UserError(f"{options['kind']} has no option {', '.join(wrong)}; allowed: {which}")
    if "min_count" in allowed:
        options.setdefault("min_count", min_count)
    try:
        return msgspec.convert({"name": name, **options}, Column)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$.")
        place = path.removesuffix("`") or "name"
        what = what[:1].lower() + what[1:].replace("`", "")
        raise UserError(f"{place}={options.get(place, name)!r}: {what}") from error


def _options_of(given: object) -> dict[str, Any]:
    """Return the long form of what describes a column."""
    options: dict[str, Any] = {}
    if isinstance(given, str):
        options = {"kind": given}
    elif isinstance(given, Mapping):
        options = dict(given)
        short = [kind for kind in _SHORT_FORMS if kind in options]
        if "kind" not in options and len(short) == 1:
            options = {"kind": short[0], _SHORT_FORMS[short[0]]: options.pop(short[0]), **options}
    if options.get("kind") not in KINDS:
        raise UserError(f"{given!r} is no kind of column, allowed: {_ALLOWED}")
    return options
