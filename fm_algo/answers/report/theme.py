"""The colours and the shape of plots, and drawings that take their colours from the page.

matplotlib is imported by the functions that need it: it takes 0.4 s, and the library's other users
need not have it.
"""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1f2328", "#59636e", "#d1d9e0", "#fefefe"
BLUE, ORANGE, GREEN, PURPLE, PINK, OLIVE = SERIES = (
    "#0969da",
    "#bc4c00",
    "#1a7f37",
    "#8250df",
    "#bf3989",
    "#7d6608",
)

_ON_DARK = {
    INK: "#e6edf3",
    MUTED: "#9198a1",
    GRID: "#3d444d",
    PAPER: "#0d1117",
    BLUE: "#58a6ff",
    ORANGE: "#f0883e",
    GREEN: "#3fb950",
    PURPLE: "#bc8cff",
    PINK: "#f778ba",
    OLIVE: "#d4b72d",
}

_SIZE_INCHES = (4.8, 3.1)
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "font.size": 10.0,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.edgecolor": "none",
    "legend.facecolor": PAPER,
    "legend.framealpha": 0.7,
    "legend.labelcolor": MUTED,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "fm_algo",  # the same plot makes the same bytes
    "text.color": INK,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
}


def new_axes(*, left: float = 0.15) -> "Axes":
    """Make axes in a figure of their own; `left` is the share of its width for labels."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - without pyplot: no window, no state

    return Figure(figsize=_SIZE_INCHES).add_axes((left, 0.16, 0.97 - left, 0.74))


def draw(plot: Callable[[], "Axes"]) -> str:
    """Make a plot, and return it as SVG whose colours are variables of the page's style."""
    import matplotlib as mpl  # noqa: PLC0415

    text = io.StringIO()
    with mpl.rc_context(_STYLE):
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure = cast("Figure", plot().figure)
        figure.savefig(text, format="svg", metadata=metadata)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r' id="[a-z0-9.]+_[0-9.]+"', "", svg
    )  # of groups: they would stand twice in a page
    svg = re.sub(r' (?:width|height)="[^"]*pt"', "", svg, count=2)
    for number, colour in enumerate(_ON_DARK):
        svg = svg.replace(colour, f"var(--c{number})")
    return svg


def style_sheet() -> str:
    """Return the variables of both themes, as the reader's system prefers."""
    light = "".join(f"--c{number}:{colour};" for number, colour in enumerate(_ON_DARK))
    dark = "".join(f"--c{number}:{colour};" for number, colour in enumerate(_ON_DARK.values()))
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    )
