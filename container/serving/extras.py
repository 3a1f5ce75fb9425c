"""What rows get beside their scores: explanations, recommendations, uncertainty, unknown values."""

import numpy as np

from container.serving.work_limit import configurations_of
from fm_algo.answers.explain import explain
from fm_algo.answers.recommend import top_features
from fm_algo.answers.uncertainty import score_uncertainty
from fm_algo.data.formats.jsonio import Configuration
from fm_algo.data.formats.predictions import (
    Extra,
    explanation_extra,
    recommendations_extra,
    similar_extra,
    uncertainty_extras,
)
from fm_algo.data.formats.request import RequestRows
from fm_algo.data.tables.named_model import NamedModel
from fm_algo.data.tables.requests.asked import Asked
from fm_algo.data.tables.requests.rows import NamedRows
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array

TOO_LARGE = "the values of the row are too large for a float32 score"


def extras_of(model: FMModel, rows: RequestRows) -> dict[int, Extra]:
    """Return what rows get beside their scores, by row.

    Parameters
    ----------
    model : FMModel
        A `NamedModel` for rows by name.
    rows : RequestRows

    Raises
    ------
    UserError
        If a number of an answer is infinite, and the row's values are to blame.
    """
    if isinstance(rows, NamedRows) and isinstance(model, NamedModel):
        extras = {
            row: _named_extra(model, rows.batch.rows(row, row + 1), asked)
            for row, asked in rows.asked.items()
        }
        for row, columns in rows.unknown.items():
            extras[row] = {"unknown": columns, **extras.get(row, {})}
    else:
        extras = {
            row: _extra(model, rows.batch.rows(row, row + 1), configuration)
            for row, configuration in rows.configurations.items()
        }
    uncertain = [row for row, its in configurations_of(rows).items() if its.uncertainty]
    if uncertain:
        batch = rows.batch.take(np.array(uncertain))
        known = score_uncertainty(model, batch)
        if not np.isfinite(known.score_std).all() and is_finite(model, batch):
            raise UserError(f"the samples' scores are infinite: {TOO_LARGE}")
        for row, extra in zip(uncertain, uncertainty_extras(known), strict=True):
            extras[row] = {**extra, **extras[row]}
    return extras


def is_finite(model: FMModel, rows: CSRBatch) -> bool:
    """Tell whether all parameters that score these rows are numbers."""
    if model.field_weights is not None and not np.isfinite(model.field_weights.R).all():
        return False
    return all(
        np.isfinite(each.w[rows.indices]).all() and np.isfinite(each.V[rows.indices]).all()
        for each in model.samples or (model,)
    )


def _extra(model: FMModel, row: CSRBatch, asked: Configuration) -> Extra:
    """Return what one row of numbered features asks for beside its score."""
    asked_of = model, row.indices, row.values
    extra: Extra = {}
    if asked.explain:
        extra = explanation_extra(explain(*asked_of))
    if asked.top_k is not None and asked.candidates is not None:
        first, last = asked.candidates.first, asked.candidates.last
        features, margin = top_features(*asked_of, first=first, last=last, top_k=asked.top_k)
        score = _scores(model, margin, model.V[features])
        label = model.predicted_label(score)
        extra = {**extra, **recommendations_extra("feature", features.tolist(), score, label)}
    return extra


def _named_extra(model: NamedModel, row: CSRBatch, asked: Asked) -> Extra:
    """Return what one row by names asks for beside its score."""
    configuration, items = asked.configuration, asked.items
    extra: Extra = {}
    if configuration.explain:
        told = explain(model, row.indices, row.values)
        extra = explanation_extra(told, model.names.feature_name)
    if configuration.top_k is not None and items is not None:
        names, margin = items.top(model, row, configuration.top_k, asked.exclude)
        score = _scores(model, margin, model.V[row.indices])
        label = model.predicted_label(score)
        extra = {**extra, **recommendations_extra("name", names, score, label)}
    if configuration.similar is not None and items is not None:
        names, cosine = items.similar(asked.own, configuration.similar)
        extra = {**extra, **similar_extra(names, cosine)}
    return extra


def _scores(model: FMModel, margin: Float32Array, factors: Float32Array) -> Float32Array:
    """Return the scores of candidates; refuse the row if one is infinite, but the model is not."""
    score = model.link(margin)
    if not np.isfinite(score).all() and np.isfinite(factors).all():
        raise UserError(f"the recommendations' scores are infinite: {TOO_LARGE}")
    return score
