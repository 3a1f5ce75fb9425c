"""Encode scores as text answers: JSON, JSON Lines and CSV.

The order of keys and the digits of numbers are those of the built-in algorithm's answers. A score
is a float32 written as a double: in full in JSON, cut to 15 significant digits in JSON Lines.
`predicted_label` is 1.0 or 0.0.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_DOWN, Context
from types import MappingProxyType

import msgspec
import numpy as np

from fm_algo.answers.explain import Explanation
from fm_algo.answers.uncertainty import Uncertainty
from fm_algo.errors import AlgorithmError
from fm_algo.sparse import Float32Array

Extra = Mapping[str, object]
"""What a prediction has beside its score: further keys and their JSON values."""

JSON_FRAME = b'{"predictions": [', b", ", b"]}"
"""The text before, between and after the predictions."""

_NO_EXTRAS: Mapping[int, Extra] = MappingProxyType({})

_TO_15_DIGITS = Context(prec=15, rounding=ROUND_DOWN)


def encode_json(
    score: Float32Array,
    predicted_label: Float32Array | None,
    extras: Mapping[int, Extra] = _NO_EXTRAS,
) -> bytes:
    """Write ``{"predictions": [{"score": 0.25, "predicted_label": 0.0}, …]}``.

    Parameters
    ----------
    score : float32, shape (n,)
    predicted_label : float32, shape (n,), or None
        None for a regressor, whose answers have no such key.
    extras : mapping of int to Extra
        Further keys, by row, behind those.

    Raises
    ------
    AlgorithmError
        If a score is not finite.
    """
    start, _, end = JSON_FRAME
    return start + encode_json_items(score, predicted_label, extras) + end


def encode_json_items(
    score: Float32Array,
    predicted_label: Float32Array | None,
    extras: Mapping[int, Extra] = _NO_EXTRAS,
) -> bytes:
    """Write the items of `encode_json`'s list, for an answer that is made in pieces."""
    scores = _finite(score)
    if predicted_label is None:
        predictions = [f'{{"score": {number}}}' for number in scores]
    else:
        predictions = [
            f'{{"score": {number}, "predicted_label": {label}}}'
            for number, label in zip(scores, predicted_label.tolist(), strict=True)
        ]
    _insert(predictions, extras, separator=", ", end="}")
    return ", ".join(predictions).encode()


def encode_jsonlines(
    score: Float32Array,
    predicted_label: Float32Array | None,
    extras: Mapping[int, Extra] = _NO_EXTRAS,
) -> bytes:
    r"""Write one line ``{"predicted_label":0.0,"score":0.25}\n`` per row.

    Parameters
    ----------
    score : float32, shape (n,)
    predicted_label : float32, shape (n,), or None
        None for a regressor, whose lines have no such key.
    extras : mapping of int to Extra
        Further keys, by row, behind those.

    Raises
    ------
    AlgorithmError
        If a score is not finite.
    """
    scores = _in_15_digits(score)
    if predicted_label is None:
        lines = [f'{{"score":{number}}}\n' for number in scores]
    else:
        lines = [
            f'{{"predicted_label":{label},"score":{number}}}\n'
            for number, label in zip(scores, predicted_label.tolist(), strict=True)
        ]
    _insert(lines, extras, separator=",", end="}\n")
    return "".join(lines).encode()


def encode_csv(score: Float32Array, predicted_label: Float32Array | None) -> bytes:
    r"""Write one line ``predicted_label,score\n`` per row, e.g. ``1,0.75``.

    The built-in algorithm has no such answer. SageMaker Clarify reads it: one column for the label
    and one for the probability.

    Parameters
    ----------
    score : float32, shape (n,)
    predicted_label : float32, shape (n,), or None
        None for a regressor, whose lines hold only the score.

    Raises
    ------
    AlgorithmError
        If a score is not finite.
    """
    scores = _finite(score)
    if predicted_label is None:
        lines = [f"{number}\n" for number in scores]
    else:
        lines = [
            f"{label:.0f},{number}\n"
            for number, label in zip(scores, predicted_label.tolist(), strict=True)
        ]
    return "".join(lines).encode()


def explanation_extra(explanation: Explanation, name: Callable[[int], object] = int) -> Extra:
    """Write the parts of a margin as the key `explanation`.

    Parameters
    ----------
    explanation : Explanation
    name : callable, optional
        What a feature is called; by default, its number.

    Returns
    -------
    Extra
        ``{"explanation": {"margin": …, "bias": …, "linear": [{"feature": …, "part": …}, …],
        "pairwise": [{"features": […, …], "part": …}, …], "rest": {"linear": …, "pairwise": …}}}``.
        Where pairs of fields have weights, each pair has also ``"fields": […, …], "weight": …``.
    """
    linear = zip(explanation.features.tolist(), explanation.linear.tolist(), strict=True)
    pairwise: list[dict[str, object]] = [
        {"features": [name(feature) for feature in pair], "part": part}
        for pair, part in zip(
            explanation.pairs.tolist(), explanation.pairwise.tolist(), strict=True
        )
    ]
    if explanation.fields is not None and explanation.weights is not None:
        of_pairs = zip(explanation.fields, explanation.weights.tolist(), strict=True)
        for told, (fields, weight) in zip(pairwise, of_pairs, strict=True):
            told |= {"fields": fields, "weight": weight}
    return {
        "explanation": {
            "margin": explanation.margin,
            "bias": explanation.bias,
            "linear": [{"feature": name(feature), "part": part} for feature, part in linear],
            "pairwise": pairwise,
            "rest": {"linear": explanation.rest_linear, "pairwise": explanation.rest_pairwise},
        }
    }


def uncertainty_extras(known: Uncertainty) -> list[Extra]:
    """Write what is known of scores as the keys `score_std` and `score_interval`.

    Returns
    -------
    list of Extra
        One a row: ``{"score_std": …, "score_interval": [low, high]}``.

    Raises
    ------
    AlgorithmError
        If a number is not finite.
    """
    columns = (_finite(numbers) for numbers in (known.score_std, known.low, known.high))
    return [
        {"score_std": score_std, "score_interval": [low, high]}
        for score_std, low, high in zip(*columns, strict=True)
    ]


def recommendations_extra(
    key: str, names: Sequence[object], score: Float32Array, predicted_label: Float32Array | None
) -> Extra:
    """Write what is recommended, the best first, as the key `recommendations`.

    Parameters
    ----------
    key : {"feature", "name"}
        Whether features or names are recommended.
    names : sequence of int or of str
    score : float32, as many
    predicted_label : float32, as many, or None

    Returns
    -------
    Extra
        ``{"recommendations": [{"feature": …, "score": …, "predicted_label": …}, …]}``, without
        `predicted_label` for a regressor.

    Raises
    ------
    AlgorithmError
        If a score is not finite.
    """
    told: list[dict[str, object]] = [
        {key: name, "score": number} for name, number in zip(names, _finite(score), strict=True)
    ]
    if predicted_label is not None:
        for recommendation, label in zip(told, predicted_label.tolist(), strict=True):
            recommendation["predicted_label"] = label
    return {"recommendations": told}


def similar_extra(names: Sequence[str], cosine: Float32Array) -> Extra:
    """Write what is similar, the most similar first, as the key `similar`.

    Returns
    -------
    Extra
        ``{"similar": [{"name": …, "similarity": …}, …]}``; similarities are cosines.

    Raises
    ------
    AlgorithmError
        If a number is not finite.
    """
    pairs = zip(names, _finite(cosine), strict=True)
    return {"similar": [{"name": name, "similarity": number} for name, number in pairs]}


def _insert(texts: list[str], extras: Mapping[int, Extra], *, separator: str, end: str) -> None:
    """Insert further keys before the `end` of each prediction's text."""
    for row, extra in extras.items():
        keys = msgspec.json.encode(extra).decode().removeprefix("{").removesuffix("}")
        texts[row] = f"{texts[row].removesuffix(end)}{separator}{keys}{end}"


def _finite(score: Float32Array) -> list[float]:
    """Widen the scores to doubles; refuse any that is not finite, as JSON cannot write it."""
    is_wrong = ~np.isfinite(score)
    if is_wrong.any():
        row = int(is_wrong.argmax())
        raise AlgorithmError(
            f"the score of row {row} is {score[row]}, expected a finite number: the model or the "
            "values of the row are too large"
        )
    numbers: list[float] = score.tolist()
    return numbers


def _in_15_digits(score: Float32Array) -> list[float]:
    """Truncate the scores so that they are written with 15 digits at most.

    This gives the text of all 47,739 scores in a published batch transform output of the built-in
    algorithm. Rounding gives another text for half of them. As float32, the numbers stay the same.
    """
    return [float(_TO_15_DIGITS.create_decimal(repr(number))) for number in _finite(score)]
