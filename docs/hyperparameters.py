"""Write hyperparameters.md beside this file from the declarations; `make docs` runs this."""

from pathlib import Path
from typing import Any

import msgspec

from fm_algo.hyperparameters import Hyperparameters, describe_range

HEAD = """# Hyperparameters

Names, ranges and defaults are those of the SageMaker built-in, except where the text says "Ours".
Values arrive as strings, in the spelling of any of the SDKs. All mistakes are reported at once.
`none` means not set.

`make docs` makes this page from `fm_algo/hyperparameters/declaration.py`.

| name | values | default | tuning range | meaning |
|---|---|---|---|---|
"""


def make_page() -> str:
    """Return the page: a table with one row per hyperparameter, in the order of declaration."""
    return HEAD + "".join(map(_row, msgspec.structs.fields(Hyperparameters)))


def _row(field: msgspec.structs.FieldInfo) -> str:
    declared = msgspec.inspect.type_info(field.type)
    if not isinstance(declared, msgspec.inspect.Metadata):
        raise TypeError(f"{field.name} is declared without a text")
    tunable = (declared.extra or {}).get("tunable")
    cells = [
        f"`{field.name}`",
        describe_range(field.type),
        "required" if field.required else _show(field.default),
        f"{tunable[0]:g} to {tunable[1]:g}" if tunable else "",
        (declared.extra_json_schema or {}).get("description", ""),
    ]
    return f"| {' | '.join(cells)} |\n"


def _show(default: Any) -> str:  # noqa: ANN401 - of any of the declared types
    """Spell a default as one would write it in hyperparameters.json."""
    return "none" if default is None else str(default).lower()


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(make_page(), encoding="utf-8")
