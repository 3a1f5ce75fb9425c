"""Write api.md beside this file from the docstrings; `make docs` runs this."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

HEAD = """# The library's names

What can be imported, and what each name takes, returns and raises. [library.md](library.md) shows
how to use them. `make docs` makes this page from the docstrings.
"""
PUBLIC = {
    "fm_algo": [
        *("FMRegressor", "FMClassifier", "FMRanker"),
        *("load_model", "read_recordio", "write_recordio"),
    ],
    "fm_algo.sparse": ["CSRBatch"],
    "fm_algo.model": ["FMModel"],
    "fm_algo.model.plain": ["as_plain", "Difference"],
    "fm_algo.answers.explain": ["Explanation"],
    "fm_algo.answers.uncertainty": ["score_uncertainty", "Uncertainty"],
    "fm_algo.hyperparameters": ["Hyperparameters", "parse_hyperparameters"],
    "fm_algo.errors": ["FMError", "UserError", "AlgorithmError", "PlatformError"],
}
_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
_ENTRIES = {"Parameters", "Attributes", "Returns", "Yields", "Raises"}


def make_page() -> str:
    """Return the page: a section per module, and in it one per name."""
    return HEAD + "".join(
        f"\n## {module}\n" + "".join(_describe(module, name) for name in names)
        for module, names in PUBLIC.items()
    )


def _describe(module: str, name: str) -> str:
    """Describe a function, or a class with its methods that are declared in this library."""
    thing = getattr(importlib.import_module(module), name)
    text = f"\n### {name}\n\n{_page(thing.__doc__)}"
    if not inspect.isclass(thing):
        return f"\n### {name}{_signature(thing)}\n\n{_page(thing.__doc__)}"
    return text + "".join(
        f"\n#### {name}.{method}{_signature(getattr(thing, method))}\n\n"
        + _page(getattr(thing, method).__doc__)
        for method in _methods(thing)
    )


def _methods(thing: type) -> Iterator[str]:
    ours = [each for each in thing.__mro__ if each.__module__.startswith("fm_algo.")]
    for name in dict.fromkeys(name for each in ours for name in vars(each)):
        member = getattr(thing, name, None)
        is_ours = str(getattr(member, "__module__", "")).startswith("fm_algo.")
        if not name.startswith("_") and is_ours and callable(member) and member.__doc__:
            yield name


def _signature(function: object) -> str:
    """Return the names and defaults of a function's parameters, without their types."""
    if not callable(function):
        return ""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in {"self", "cls"}
    ]
    return str(inspect.Signature(parameters)).replace("*", r"\*")


def _page(docstring: str | None) -> str:
    """Turn a docstring as numpydoc has it into Markdown: sections become lists."""
    first, _, rest = (docstring or "").partition("\n")
    summary, *sections = _SECTION.split(first + "\n" + dedent(rest))
    parts = [summary.strip()]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        content = _list(body) if title in _ENTRIES else body.strip()
        parts.append(f"**{title}**\n\n{content}")
    return "\n\n".join(parts).replace("``", "`") + "\n"


def _list(body: str) -> str:
    """Turn lines of names, and indented lines about them, into a list."""
    entries: list[str] = []
    for line in body.strip("\n").splitlines():
        if line.startswith(" "):
            glue = " " if ": " in entries[-1] or entries[-1].endswith(":") else ": "
            entries[-1] += glue + line.strip()
        elif line:
            name, colon, kind = line.partition(" : ")
            entries.append(f"- `{name}` ({kind})" if colon else f"- {line}")
    return "\n".join(entries)


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(make_page(), encoding="utf-8")
