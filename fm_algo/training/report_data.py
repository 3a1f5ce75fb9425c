"""Collect what a report shows, and the numbers of metrics.json, from the course of a training."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import msgspec
import numpy as np

from fm_algo.answers.report.data import Curve, Learnt, ReportData, Scored
from fm_algo.answers.report.plots import short_name
from fm_algo.data.tables.encoder import TableEncoder
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.loss import LOSSES
from fm_algo.model import FMModel
from fm_algo.runtime.machine import peak_memory_bytes
from fm_algo.sparse import CSRBatch, Int64Array
from fm_algo.training.bayes.groups import find_runs
from fm_algo.training.census import Facts
from fm_algo.training.metrics import RANKING_METRICS, Metric, metrics_for, minimised_metric
from fm_algo.training.report import EpochReport
from fm_algo.training.verdict import Outcome, Verdict

_MOST_NUMBERS = 1 << 23
"""Factors that are gathered to score a sample: a tenth of a second."""

_MOST_FEATURES = 1 << 22
"""Features whose fields are looked for in the rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What a training went through.

    Attributes
    ----------
    hyperparameters : Hyperparameters
    num_hosts : int
    epochs : sequence of EpochReport
    validation, test : sequence of Metric
        Of the saved model; validation is empty if they are those of the last epoch.
    elapsed_s : float
        From the rows in memory to the end.
    facts : Facts
    train_rows : CSRBatch or None
        A sample.
    encoder : TableEncoder or None
        Of a model of tables; it names features.
    """

    hyperparameters: Hyperparameters
    num_hosts: int
    epochs: Sequence[EpochReport]
    validation: Sequence[Metric]
    test: Sequence[Metric]
    elapsed_s: float
    facts: Facts
    train_rows: CSRBatch | None
    encoder: TableEncoder | None = None

    @property
    def metrics(self) -> dict[str, Sequence[Metric]]:
        """The last metrics of each kind of rows."""
        train = self.epochs[-1].metrics if self.epochs else ()
        validation = self.validation or (self.epochs[-1].validation if self.epochs else ())
        return {"train": train, "validation": validation, "test": self.test}


def score(model: FMModel, place: str, rows: CSRBatch, epochs: Sequence[EpochReport]) -> Outcome:
    """Score a sample of rows, fewer if scoring is dear."""
    per_row = model.num_factors * max(len(model.samples), 1) * rows.num_entries / rows.num_rows
    most = int(max(_MOST_NUMBERS // max(per_row, 1), 100))
    if rows.num_rows > most:
        rows = rows.take(np.linspace(0, rows.num_rows - 1, most).astype(np.int64))
    name = LOSSES[model.predictor_type].metric
    with np.errstate(all="ignore"):
        margin = model.margin(rows)
    return Outcome(
        place=place,
        margin=margin,
        labels=rows.require_labels(),
        train_losses=[value for epoch in epochs for value in _values(epoch.metrics, name)],
        num_steps=sum(epoch.num_batches for epoch in epochs),
        weights=rows.weights,
    )


def numbers(course: Course, verdict: Verdict | None) -> dict[str, object]:
    """Return the content of metrics.json; docs/report.md says what is what."""
    return {
        "format_version": 1,
        "predictor_type": course.hyperparameters.predictor_type,
        "metrics": {name: _named(metrics) for name, metrics in course.metrics.items() if metrics},
        "epochs": [
            {
                "epoch": epoch.epoch,
                "num_rows": epoch.num_rows,
                "elapsed_s": epoch.elapsed_s,
                "train": _named(epoch.metrics),
                "validation": _named(epoch.validation),
            }
            for epoch in course.epochs
        ],
        "verdict": None if verdict is None else asdict(verdict) | {"is_better": verdict.is_better},
        "data": asdict(course.facts),
        "elapsed_s": course.elapsed_s,
        "peak_memory_bytes": peak_memory_bytes(),
        "hyperparameters": course.hyperparameters,
    }


def collect(
    model: FMModel, course: Course, outcome: Outcome | None, verdict: Verdict | None
) -> ReportData:
    """Collect what the report shows.

    Parameters
    ----------
    model : FMModel
        As saved.
    course : Course
    outcome : Outcome or None
        None if there are no rows to score.
    verdict : Verdict or None
    """
    chosen, rows, encoder = course.hyperparameters, course.train_rows, course.encoder
    tables, details = _tables(course)
    return ReportData(
        title=f"Factorization machine, {chosen.objective}",
        is_classifier=LOSSES[chosen.predictor_type].is_classifier,
        verdict="" if verdict is None else _sentence(str(verdict)),
        is_good=verdict is None or verdict.is_better,
        notes=[_sentence(told) for told in course.facts.told(with_labels=not chosen.loss)],
        figures=_figures(course, verdict),
        tables=tables,
        details=details,
        curve=_curve(minimised_metric(chosen.objective), course.epochs),
        ranking_curve=_curve(RANKING_METRICS[0], course.epochs) if chosen.loss else None,
        scored=None if outcome is None else _scored(model, outcome),
        train_labels=None if rows is None or chosen.loss else rows.require_labels(),
        learnt=None if rows is None else Learnt.of(model, rows, _first_features(course, rows)),
        feature_name="feature {}".format if encoder is None else encoder.feature_name,
        field_name=None if encoder is None else _field_name(encoder),
    )


def _curve(metric: str, epochs: Sequence[EpochReport]) -> Curve:
    told = [epoch for epoch in epochs if epoch.metrics]
    best = told[-1].progress.best if told else None
    validation = [value for epoch in told for value in _values(epoch.validation, metric)]
    return Curve(
        metric=metric,
        epochs=[epoch.epoch for epoch in told],
        train=[value for epoch in told for value in _values(epoch.metrics, metric)],
        validation=validation if len(validation) == len(told) else (),
        best_epoch=None if best is None else best.epoch,
    )


def _scored(model: FMModel, outcome: Outcome) -> Scored:
    sums = metrics_for(model.predictor_type, with_auc=True)
    with np.errstate(all="ignore"):
        sums.update(outcome.margin, outcome.labels, outcome.weights)
    area = next(iter(_values(sums.results(), "roc_auc_score")), None)
    scores = model.link(outcome.margin)
    return Scored(outcome.place, scores, outcome.labels, area, outcome.weights)


def _field_name(encoder: TableEncoder) -> Callable[[int], str]:
    """Return what names the field of a feature."""
    space = encoder.space
    return lambda feature: space.fields[int(space.field_of(np.array([feature], np.int32))[0])]


def _first_features(course: Course, rows: CSRBatch) -> Int64Array | None:
    """Return the first feature of each field, ascending, as far as fields can be told."""
    chosen = course.hyperparameters
    if course.encoder is not None:
        return course.encoder.space.firsts
    if chosen.feature_groups is not None:
        return np.union1d([0], chosen.feature_groups)
    return find_runs(rows) if chosen.feature_dim <= _MOST_FEATURES else None


def _figures(course: Course, verdict: Verdict | None) -> dict[str, str]:
    metric = minimised_metric(course.hyperparameters.objective)
    short = short_name(metric)
    shown = [metric] if course.hyperparameters.loss is None else [metric, RANKING_METRICS[0]]
    figures = {
        f"{name} {short_name(each)}": f"{value:.4g}"
        for name, metrics in course.metrics.items()
        for each in shown
        for value in _values(metrics, each)
    }
    if verdict is not None and verdict.positive_weight == 1:
        figures[f"{short} of the mean label"] = f"{verdict.constant_loss:.4g}"
    facts = course.facts
    return figures | {
        "rows": f"{facts.num_rows:,}",
        "features": f"{facts.feature_dim:,}",
        "epochs": f"{len(course.epochs)}",
        "time": _duration(course.elapsed_s),
        "peak memory": f"{peak_memory_bytes() >> 20:,} MiB",
    }


_Tables = dict[str, dict[str, str]]


def _tables(course: Course) -> tuple[_Tables, _Tables]:
    """Return the tables that are shown, and those that are shown when asked for."""
    facts, epochs = course.facts, course.epochs
    epoch_s = statistics.median(epoch.elapsed_s for epoch in epochs) if epochs else 0.0
    num_rows = epochs[-1].num_rows if epochs else 0
    chosen = msgspec.structs.asdict(course.hyperparameters)
    defaults = {field.name: field.default for field in msgspec.structs.fields(Hyperparameters)}
    own = {name: _show(value) for name, value in chosen.items() if value != defaults[name]}
    labels = (
        f"{facts.label_mean:.4g} ± {facts.label_deviation:.4g}, from {facts.label_min:g} to "
        f"{facts.label_max:g}"
    )
    tables = {
        "Metrics": {
            f"{name} {metric.name}": f"{metric.value:.5g}"
            for name, metrics in course.metrics.items()
            for metric in metrics
        },
        "Rows": {
            "rows": f"{facts.num_rows:,}",
            "values per row": f"{facts.num_entries / max(facts.num_rows, 1):.3g}",
            "density": f"{facts.density:.3g}",
            "labels": "not predicted" if course.hyperparameters.loss else labels,
            "duplicates": f"{facts.num_duplicates:,} of {facts.num_compared:,}",
        },
        "Time and memory": {
            "epochs": f"{len(epochs)}",
            "time": _duration(course.elapsed_s),
            "time per epoch": _duration(epoch_s),
            "rows per second": f"{num_rows / epoch_s:,.0f}" if epoch_s else "",
            "peak memory": f"{peak_memory_bytes() >> 20:,} MiB",
            "hosts": f"{course.num_hosts}",
        },
        "Hyperparameters": own,
    }
    rest = {name: _show(value) for name, value in chosen.items() if name not in own}
    return tables, {"Hyperparameters at their defaults": rest}


def _values(metrics: Sequence[Metric], name: str) -> list[float]:
    return [metric.value for metric in metrics if metric.name == name]


def _named(metrics: Sequence[Metric]) -> dict[str, float]:
    return {metric.name: metric.value for metric in metrics}


def _show(value: object) -> str:
    if value is None:
        return "not set"
    encoded = msgspec.json.encode(value)
    return value if isinstance(value, str) else msgspec.json.format(encoded, indent=0).decode()


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _duration(seconds: float) -> str:
    if seconds < 0.1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min"
