"""Write to the console: lines on standard output, a progress bar on standard error."""

import json
import sys
from collections.abc import Mapping, Sequence

from tqdm import tqdm


def say(text: str) -> None:
    """Write one line, above the progress bar if there is one."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def say_json(value: Sequence[Mapping[str, object]]) -> None:
    """Write a value as indented JSON."""
    say(json.dumps(value, indent=2))


def say_table(rows: Mapping[str, object]) -> None:
    """Write names and values, with the values aligned."""
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        say(f"{name:<{width}}  {value}")


class Progress:
    """A progress bar from 0 to 100 %, shown only on a terminal.

    Parameters
    ----------
    name : str
        Name of the task.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar = tqdm(
            total=100, unit="%", disable=None, bar_format="{desc} {bar} {n:.0f} % {elapsed}"
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, status: str, percent: float | None = None) -> None:
        """Show the status and, if known, how much is done."""
        self._bar.set_description_str(f"{self._name}: {status}", refresh=False)
        if percent is not None:
            self._bar.n = percent
        self._bar.refresh()
