"""The report as one HTML file: plots as inline SVG, no script, light and dark, narrow and wide."""

import functools
import html
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from fm_algo.answers.report import plots
from fm_algo.answers.report.data import Curve, Learnt, ReportData, Scored
from fm_algo.answers.report.theme import draw, style_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Plot = Callable[[], "Axes"]

_LAYOUT = """
*{box-sizing:border-box}
body{margin:0;background:var(--c3);color:var(--c0);font:15px/1.5 system-ui,sans-serif}
main{max-width:80rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.5rem 0}
h2{font-size:1.1rem;margin:2rem 0 .5rem}
p{margin:.5rem 0}
.muted,dt,th{color:var(--c1)}
.bad{border-left:.3rem solid var(--c5);padding:.3rem .8rem}
.good{border-left:.3rem solid var(--c6);padding:.3rem .8rem}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.5rem,1fr));gap:.8rem;margin:1rem 0}
dl>div{align-self:end}
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
dt{font-size:.85rem}
details{margin:1.5rem 0}
details dl{grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:.4rem 1rem}
details dd{font-size:.9rem}
summary{color:var(--c1);cursor:pointer}
.plots,.tables{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr))}
figure{margin:0;padding:.5rem;border:1px solid var(--c2);border-radius:.5rem}
svg{display:block;width:100%;height:auto}
svg text{font-family:"DejaVu Sans",Verdana,sans-serif!important}
figcaption{color:var(--c1);font-size:.85rem;padding:0 .3rem .2rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;font-weight:normal;padding:.2rem .5rem .2rem 0;vertical-align:top}
th,td{border-bottom:1px solid var(--c2)}
th{overflow-wrap:break-word}
td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
h3{font-size:1rem;margin:.5rem 0}
"""


def make_page(data: ReportData) -> str:
    """Return the page.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    escape = html.escape
    is_told = "good" if data.is_good else "bad"
    verdict = f'<p class="{is_told}">{escape(data.verdict)}</p>' if data.verdict else ""
    notes = "".join(f"<p>{escape(note)}</p>" for note in data.notes)
    drawn = "".join(
        f'<figure role="img" aria-label="{escape(caption)}">{draw(plot)}'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for plot, caption in _plots(data)
    )
    tables = "".join(_table(title, rows) for title, rows in data.tables.items())
    details = "".join(
        f"<details><summary>{escape(title)}</summary>{_pairs(rows)}</details>"
        for title, rows in data.details.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(data.title)}</title><style>{style_sheet()}{_LAYOUT}</style></head>"
        f"<body><main><h1>{escape(data.title)}</h1>{verdict}{_pairs(data.figures)}"
        f'<div class="plots">{drawn}</div><h2>Data</h2>{notes}'
        f'<div class="tables">{tables}</div>{details}</main></body></html>\n'
    )


def _plots(data: ReportData) -> Iterator[tuple[_Plot, str]]:
    if data.curve is not None and len(data.curve.epochs):
        yield _of_curve(data.curve), "How far off the model was, epoch by epoch."
    if data.ranking_curve is not None and len(data.ranking_curve.validation):
        yield _of_curve(data.ranking_curve), "How good the rankings were, epoch by epoch."
    if data.scored is not None and len(data.scored.scores):
        yield from _of_scores(data.scored, is_classifier=data.is_classifier)
    if data.learnt is not None:
        field_name = data.field_name or (lambda first: f"from {data.feature_name(first)} on")
        yield from _of_learnt(data.learnt, data.feature_name, field_name)
    if data.train_labels is not None and len(data.train_labels):
        labels = data.train_labels
        yield (
            functools.partial(plots.label_distribution, labels),
            f"The labels of {len(labels):,} rows.",
        )


def _of_curve(curve: Curve) -> _Plot:
    return functools.partial(
        plots.learning_curve,
        curve.epochs,
        curve.train,
        curve.validation,
        metric=curve.metric,
        best_epoch=curve.best_epoch,
    )


def _of_scores(scored: Scored, *, is_classifier: bool) -> Iterator[tuple[_Plot, str]]:
    scores, labels, weights = scored.scores, scored.labels, scored.weights
    which = f"{len(scores):,} {scored.place} rows"
    if not is_classifier:
        yield (
            functools.partial(plots.residuals, scores, labels),
            f"Errors on {which}; a mean far from 0 is a bias.",
        )
    else:
        yield (
            functools.partial(plots.calibration, scores, labels, weights),
            f"Whether a probability means what it says, on {which} in ten groups.",
        )
        if scored.area is not None:
            roc = functools.partial(plots.roc, scores, labels, weights, area=scored.area)
            yield roc, f"How well the labels of {which} are told apart."
            yield (
                functools.partial(plots.precision_recall, scores, labels, weights),
                "Rows above a threshold: how many have label 1, and how many of those are found.",
            )
    distribution = functools.partial(
        plots.score_distribution, scores, labels, is_classifier=is_classifier
    )
    yield distribution, f"What the model says of {which}."


def _of_learnt(
    learnt: Learnt, feature_name: Callable[[int], str], field_name: Callable[[int], str]
) -> Iterator[tuple[_Plot, str]]:
    if len(learnt.linear.features):
        names = [feature_name(feature) for feature in learnt.linear.features.tolist()]
        yield (
            functools.partial(
                plots.largest_parts, names, learnt.linear.effects, title="Largest linear weights"
            ),
            "What single features add at their usual values.",
        )
    if len(learnt.pairs.features):
        pairs = [
            f"{feature_name(first)} × {feature_name(second)}"
            for first, second in learnt.pairs.features.tolist()
        ]
        yield (
            functools.partial(
                plots.largest_parts, pairs, learnt.pairs.effects, title="Largest pairs"
            ),
            "What pairs of frequent features add where they stand in a row together.",
        )
    if learnt.map is not None:
        plot = functools.partial(
            plots.factor_map,
            learnt.map.places,
            fields=learnt.fields,
            field_names=field_name,
            shares=learnt.map.shares,
        )
        count = len(learnt.map.features)
        yield plot, f"The {count} most frequent features: near ones act alike in pairs."


def _pairs(values: Mapping[str, str]) -> str:
    pairs = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in values.items()
    )
    return f"<dl>{pairs}</dl>"


def _table(title: str, rows: Mapping[str, str]) -> str:
    cells = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in rows.items()
    )
    return f"<div><h3>{html.escape(title)}</h3><table>{cells}</table></div>"
