"""What a report shows, in plain values and arrays, collected from a model and a sample of rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fm_algo.answers.report.helpful import (
    FactorMap,
    Parts,
    Presence,
    factor_map,
    largest_linear,
    largest_pairs,
)
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array

_MOST_PARTS = 12


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric, epoch by epoch.

    Attributes
    ----------
    metric : str
    epochs : sequence of int
    train, validation : sequence of float
        One per epoch; validation may be empty.
    best_epoch : int, optional
        The epoch whose model was saved, if that is not the last one.
    """

    metric: str
    epochs: Sequence[int]
    train: Sequence[float]
    validation: Sequence[float] = ()
    best_epoch: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Rows that the final model has scored.

    Attributes
    ----------
    place : str
        Which rows: "validation", "test" or "training".
    scores, labels : float32, shape (n,)
    area : float, optional
        Area under the ROC curve, of rows of both labels.
    weights : float32, shape (n,), optional
        Of the rows.
    """

    place: str
    scores: Float32Array
    labels: Float32Array
    area: float | None = None
    weights: Float32Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What is worth seeing of a model's parameters.

    Attributes
    ----------
    linear, pairs : Parts
        The largest linear parts, and those of pairs.
    map : FactorMap or None
    fields : int32, shape (m,), or None
        The field of each feature on the map, as the first feature of that field.
    """

    linear: Parts
    pairs: Parts
    map: FactorMap | None
    fields: Int32Array | None = None

    @classmethod
    def of(cls, model: FMModel, rows: CSRBatch, firsts: Int64Array | None) -> "Learnt":
        """Look at the features that a sample of rows has.

        Parameters
        ----------
        model : FMModel
        rows : CSRBatch
            A sample of the training rows; its feature_dim is the model's.
        firsts : int64, shape (F,), or None
            The first feature of each field, ascending, 0 the first; None if fields are not known.
        """
        presence = Presence(rows)
        mapped, fields = factor_map(model, presence), None
        if mapped is not None and firsts is not None:
            places = np.searchsorted(firsts, mapped.features, side="right") - 1
            fields = firsts[places].astype(np.int32)
        return cls(
            linear=largest_linear(model, presence, _MOST_PARTS),
            pairs=largest_pairs(model, presence, _MOST_PARTS),
            map=mapped,
            fields=fields,
        )


@dataclass(frozen=True, slots=True, eq=False)
class ReportData:
    """All that a report shows.

    Attributes
    ----------
    title : str
    is_classifier : bool
    verdict : str
        Whether the model is any good, in a sentence; empty where that is not known.
    is_good : bool
    notes : sequence of str
        Further sentences, on the data.
    figures : mapping of str to str
        The few numbers on top, by name.
    tables : mapping of str to mapping of str to str
        Tables of two columns, by title.
    details : mapping of str to mapping of str to str
        Further names and values, by title, shown when asked for.
    curve, ranking_curve : Curve or None
        Of the metric that training minimises; of validation rankings, with a ranking loss.
    scored : Scored or None
    train_labels : float32, shape (n,), or None
        A sample.
    learnt : Learnt or None
    feature_name : callable
        Names a feature, by default with its number.
    field_name : callable, optional
        Names the field that begins with a feature.
    """

    title: str
    is_classifier: bool
    verdict: str = ""
    is_good: bool = True
    notes: Sequence[str] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    curve: Curve | None = None
    ranking_curve: Curve | None = None
    scored: Scored | None = None
    train_labels: Float32Array | None = None
    learnt: Learnt | None = None
    feature_name: Callable[[int], str] = "feature {}".format
    field_name: Callable[[int], str] | None = None
