"""Single plots of a model and its training; each takes plain arrays and returns matplotlib axes.

Each takes `ax`, the axes to draw in, by default new ones (`pip install 'fm-algo[report]'`).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fm_algo.answers.report import rates
from fm_algo.answers.report.theme import BLUE, GREEN, INK, MUTED, ORANGE, SERIES, new_axes
from fm_algo.sparse import Float32Array, Int32Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_BARS = 40
_MOST_FIELDS = 5
_NUM_BANDS = 12


def learning_curve(
    epochs: Sequence[int],
    train: Sequence[float],
    validation: Sequence[float] = (),
    *,
    metric: str,
    best_epoch: int | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot a metric of the training and validation rows, epoch by epoch.

    Parameters
    ----------
    epochs : sequence of int
        Numbers of the epochs.
    train, validation : sequence of float
        The metric after each; no values of either, or one per epoch.
    metric : str
    best_epoch : int, optional
        The epoch whose model was saved.
    ax : matplotlib axes, optional
    """
    ax = ax or new_axes()
    marker = "o" if len(epochs) < 30 else ""
    if len(train):
        ax.plot(epochs, train, color=BLUE, marker=marker, markersize=4, label="training")
    if len(validation):
        ax.plot(epochs, validation, color=ORANGE, marker=marker, markersize=4, label="validation")
    if best_epoch is not None:
        ax.axvline(best_epoch, color=GREEN, linestyle=":", label="saved model")
    ax.locator_params(axis="x", integer=True)
    if len(epochs) == 1:
        ax.set_xlim(epochs[0] - 1, epochs[0] + 1)
    ax.legend()
    return _named(ax, f"Learning curve: {short_name(metric)}", "epoch", "")


def short_name(metric: str) -> str:
    """Return what a metric is called among people."""
    return metric.removeprefix("binary_classification_").replace("_", " ")


def score_distribution(
    scores: Float32Array, labels: Float32Array, *, is_classifier: bool, ax: "Axes | None" = None
) -> "Axes":
    """Plot how scores spread: beside the labels, or for each label of a classifier.

    Parameters
    ----------
    scores, labels : float32, shape (n,)
    is_classifier : bool
    ax : matplotlib axes, optional
    """
    ax = ax or new_axes()
    if is_classifier:
        groups = {"rows of label 0": scores[labels == 0], "rows of label 1": scores[labels == 1]}
        low, high = 0.0, 1.0
    else:
        groups = {"labels": labels, "scores": scores}
        low, high = _bounds(np.concatenate([scores, labels]))
    edges = np.linspace(low, high, _MOST_BARS + 1)
    colours = (MUTED, BLUE) if not is_classifier else (ORANGE, BLUE)
    for (name, numbers), colour in zip(groups.items(), colours, strict=True):
        if len(numbers):
            counts, _ = np.histogram(np.clip(numbers, low, high), edges)
            ax.stairs(counts / len(numbers), edges, color=colour, fill=True, alpha=0.25)
            ax.stairs(counts / len(numbers), edges, color=colour, linewidth=1.5, label=name)
    ax.legend()
    return _named(ax, "Distribution of scores", "score", "share of rows")


def residuals(scores: Float32Array, labels: Float32Array, *, ax: "Axes | None" = None) -> "Axes":
    """Plot a regressor's errors, label less score, by score: their mean, and the middle 80 %.

    Parameters
    ----------
    scores, labels : float32, shape (n,)
        One row at least.
    ax : matplotlib axes, optional
    """
    ax = ax or new_axes()
    order = np.argsort(scores, kind="stable")
    groups = np.array_split(order, min(_NUM_BANDS, len(order)))
    error = labels.astype(np.float64) - scores
    places = [float(np.median(scores[group])) for group in groups]
    low, high = np.array([np.quantile(error[group], (0.1, 0.9)) for group in groups]).T
    mean = [float(error[group].mean()) for group in groups]
    ax.fill_between(places, low, high, color=BLUE, alpha=0.2, linewidth=0, label="middle 80 %")
    ax.plot(places, mean, color=BLUE, marker="o", markersize=4, label="mean")
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.legend()
    return _named(ax, "Residuals", "score", "label − score")


def calibration(
    scores: Float32Array,
    labels: Float32Array,
    weights: Float32Array | None = None,
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot how often label 1 came among rows of about the same probability.

    Parameters
    ----------
    scores, labels : float32, shape (n,)
        One row at least.
    weights : float32, shape (n,), optional
    ax : matplotlib axes, optional
    """
    ax = ax or new_axes()
    score, share, weight = rates.calibration(scores, labels, weights)
    error = 1.64 * np.sqrt(share * (1 - share) / weight)
    ax.axline((0, 0), slope=1, color=MUTED, linewidth=1, linestyle="--", label="perfect")
    ax.errorbar(score, share, error, color=BLUE, marker="o", markersize=4, label="model, ± 90 %")
    top = min(1.0, 1.1 * float(max(score.max(), (share + error).max())))
    ax.set_xlim(0, top)
    ax.set_ylim(0, top)
    ax.legend(loc="upper left")
    return _named(ax, "Calibration", "probability by the model", "share of label 1")


def roc(
    scores: Float32Array,
    labels: Float32Array,
    weights: Float32Array | None = None,
    *,
    area: float,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot the ROC curve of rows of both labels; `area` is the area below it."""
    ax = ax or new_axes()
    ax.plot(*rates.roc(scores, labels, weights), color=BLUE, label=f"area {area:.3f}")
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="chance")
    ax.legend(loc="lower right")
    return _named(ax, "ROC curve", "false positive rate", "true positive rate")


def precision_recall(
    scores: Float32Array,
    labels: Float32Array,
    weights: Float32Array | None = None,
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot precision by recall, of rows of both labels."""
    ax = ax or new_axes()
    ax.plot(*rates.precision_recall(scores, labels, weights), color=BLUE, label="model")
    base = float(np.average(labels == 1, weights=weights))
    ax.axhline(base, color=MUTED, linewidth=1, linestyle="--", label=f"chance: {base:.3g}")
    ax.set_ylim(0, 1.02)
    ax.legend(loc="lower left")
    return _named(ax, "Precision and recall", "recall", "precision")


def label_distribution(labels: Float32Array, *, ax: "Axes | None" = None) -> "Axes":
    """Plot how often each label, or each range of labels, is in `labels`, float32, shape (n,)."""
    ax = ax or new_axes()
    known, counts = np.unique(labels, return_counts=True)
    if len(known) <= 12:
        names = [f"{label:g}" for label in known]
        ax.bar(names, counts / len(labels), color=BLUE, width=0.7)
        ax.grid(visible=False, axis="x")
    else:
        low, high = _bounds(labels)
        counts, edges = np.histogram(np.clip(labels, low, high), _MOST_BARS, (low, high))
        ax.stairs(counts / len(labels), edges, color=BLUE, fill=True)
    return _named(ax, "Labels", "label", "share of rows")


def largest_parts(
    names: Sequence[str], effects: NDArray[np.float64], *, title: str, ax: "Axes | None" = None
) -> "Axes":
    """Plot named parts of margins as bars, the first on top.

    Parameters
    ----------
    names : sequence of str
    effects : float64, shape (len(names),)
    title : str
    ax : matplotlib axes, optional
    """
    longest = max(map(len, names), default=0)
    ax = ax or new_axes(left=min(0.07 + 0.016 * longest, 0.5))
    places = np.arange(len(names))
    ax.barh(places, effects, color=[BLUE if effect >= 0 else ORANGE for effect in effects])
    ax.set_yticks(places, [_shortened(name) for name in names], fontsize=8.5, parse_math=False)
    ax.invert_yaxis()
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.grid(visible=False, axis="y")
    return _named(ax, title, "added to the margin", "")


def factor_map(
    places: NDArray[np.float64],
    *,
    fields: Int32Array | None = None,
    field_names: Callable[[int], str] = "field {}".format,
    shares: tuple[float, float] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot features by their factors, in the colours of their fields.

    Parameters
    ----------
    places : float64, shape (m, 2)
        On the first two principal axes.
    fields : int32, shape (m,), optional
        The field of each feature.
    field_names : callable, optional
        Names a field.
    shares : tuple of float, optional
        Share of the variance along each axis.
    ax : matplotlib axes, optional
    """
    ax = ax or new_axes()
    of_features = np.zeros(len(places), np.int32) if fields is None else fields
    known, counts = np.unique(of_features, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:_MOST_FIELDS]
    # Where every column is a field of its own, as with numbers, colours would tell nothing.
    is_told = len(known) > 1 and 2 * counts[largest].sum() > len(places)
    rest = ~np.isin(of_features, known[largest]) if is_told else np.ones(len(places), np.bool_)
    groups = [(rest, "others", MUTED if is_told else BLUE)]
    if is_told:
        groups += [
            (of_features == field, field_names(int(field)), colour)
            for field, colour in zip(np.sort(known[largest]), SERIES, strict=False)
        ]
    for chosen, label, colour in groups:
        if chosen.any():
            x, y = places[chosen].T
            ax.plot(x, y, "o", color=colour, markersize=3.5, alpha=0.6, label=label)
    if is_told:
        ax.legend(loc="best", markerscale=1.5)
    first, second = ("", "") if shares is None else (f" ({share:.0%})" for share in shares)
    return _named(ax, "Map of the factors", f"first axis{first}", f"second axis{second}")


def _named(ax: "Axes", title: str, x: str, y: str) -> "Axes":
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    return ax


def _bounds(numbers: Float32Array) -> tuple[float, float]:
    """Return what all but the outermost numbers lie between."""
    low, high = np.quantile(numbers, (0.001, 0.999)).tolist()
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _shortened(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:31]}…"
