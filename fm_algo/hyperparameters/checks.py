"""Which values do not go together; each check returns what is wrong, in words."""

import itertools
import json
from collections.abc import Mapping
from typing import Any, Literal

from fm_algo.data.tables.columns import MIN_COUNT, parse_columns
from fm_algo.errors import UserError
from fm_algo.hyperparameters.ranges import FEATURE_LIST
from fm_algo.sparse import MAX_FEATURE_DIM

WITHOUT_GRADIENTS: tuple[Literal["als", "mcmc"], ...] = ("als", "mcmc")
"""Optimisers that go over all rows again and again, feature by feature."""

_WITHIN_THE_BUILTIN = {"posterior_samples": 0, "columns": None}
"""With another value, they give a model more than the built-in's artifact holds."""

INIT_GROUPS = ("bias", "linear", "factors")
"""The groups of parameters that have initial values of their own."""


def check_all(problems: list[str]) -> None:
    """Report problems, if there are any.

    Raises
    ------
    UserError
        Lists every one.
    """
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"{count} in the hyperparameters: {'; '.join(problems)}")


def find_conflicts(values: Mapping[str, Any], problems: list[str]) -> list[str]:
    """Find values that do not go together.

    Parameters
    ----------
    values : mapping of str to object
        Those that are set.
    problems : list of str
        What has been found already; that is not told again.

    Returns
    -------
    list of str
    """
    return [
        *_missing_init_values(values, problems),
        *_misplaced_bayes_values(values),
        *_misplaced_field_values(values),
        *_wrong_columns(values),
        *_misplaced_weight(values),
        *_unheld_by_the_builtin(values),
        *_misplaced_ranking_values(values),
    ]


def mentioned(name: str, problems: list[str]) -> bool:
    """Return whether a problem with this hyperparameter's value is already reported."""
    return any(problem.startswith(f"{name}=") for problem in problems)


def _misplaced_bayes_values(values: Mapping[str, Any]) -> list[str]:
    """Find what is asked of mcmc and als in vain, and groups that are none."""
    problems = []
    optimizer, num_samples = values.get("optimizer", "adam"), values.get("posterior_samples", 0)
    if num_samples and optimizer != "mcmc":
        problems.append(f"posterior_samples={num_samples} needs optimizer=mcmc, not {optimizer}")
    if optimizer in WITHOUT_GRADIENTS and values.get("device") == "gpu":
        problems.append(f"device=gpu: optimizer={optimizer} trains on processors, use auto or cpu")
    if optimizer == "als":
        problems += [
            f"{name}=0.0 is not a finite number > 0, which optimizer=als needs"
            for name in ("linear_wd", "factors_wd")
            if values.get(name) == 0
        ]
    groups = values.get("feature_groups")
    if groups is not None and optimizer != "mcmc":
        problems.append(
            f"feature_groups={json.dumps(groups)} needs optimizer=mcmc, not {optimizer}"
        )
        return problems
    return problems + _wrong_features("feature_groups", values)


def _misplaced_field_values(values: Mapping[str, Any]) -> list[str]:
    """Find what is said of fields in vain, and who cannot learn their weights."""
    if values.get("interaction") != "field_weighted":
        return [
            f"{name}={json.dumps(values[name])} needs interaction=field_weighted"
            for name, default in (
                ("feature_fields", None),
                ("field_weights_lr", None),
                ("field_weights_wd", 0.0),
            )
            if values.get(name, default) != default
        ]
    problems = _wrong_features("feature_fields", values)
    optimizer = values.get("optimizer", "adam")
    if optimizer in WITHOUT_GRADIENTS:
        problems.append(
            f"interaction=field_weighted is learnt by gradients, not by optimizer={optimizer}: use "
            "rowwise_adagrad, adam, adagrad, ftrl or sgd"
        )
    if values.get("columns") is not None and values.get("feature_fields") is not None:
        problems.append("feature_fields must not be given with columns: each column is a field")
    return problems


def _wrong_features(name: str, values: Mapping[str, Any]) -> list[str]:
    """Find out whether a list of first features, if it is given, is none."""
    firsts = values.get(name)
    if firsts is None or (
        firsts
        and all(first < second for first, second in itertools.pairwise(firsts))
        and firsts[-1] < values.get("feature_dim", MAX_FEATURE_DIM)
    ):
        return []
    return [f"{name}={json.dumps(firsts)} is not {FEATURE_LIST}"]


def _wrong_columns(values: Mapping[str, Any]) -> list[str]:
    """Find mistakes in columns, and what needs columns or does not go with them."""
    columns = values.get("columns")
    if columns is None:
        return [
            f"{name}={json.dumps(values[name])} needs columns"
            for name, default in (("min_count", MIN_COUNT), ("keep_seen", False))
            if values.get(name, default) != default
        ]
    problems = []
    if values.get("feature_groups") is not None:
        problems.append("feature_groups must not be given with columns: each column is a group")
    try:
        parsed = parse_columns(columns, values.get("min_count", MIN_COUNT))
    except UserError as error:
        return [*problems, error.message]
    has_label = any(column.kind == "label" for column in parsed.values())
    if not has_label and values.get("loss") is None:
        problems.append('columns: none is the label, expected one, such as "rating": "label"')
    return problems


def _misplaced_weight(values: Mapping[str, Any]) -> list[str]:
    """Find a weight of positives where there are no classes."""
    weight, predictor_type = values.get("positive_weight", 1), values.get("predictor_type")
    if weight == 1 or predictor_type != "regressor":
        return []
    return [f"positive_weight={weight} needs predictor_type=binary_classifier, not regressor"]


def beyond_the_builtin(values: Mapping[str, Any]) -> list[str]:
    """Find hyperparameters that give a model more than the built-in's artifact holds.

    Parameters
    ----------
    values : mapping of str to object
        Those that are set.

    Returns
    -------
    list of str
        Their names.
    """
    plain = _WITHIN_THE_BUILTIN
    return [name for name, usual in plain.items() if values.get(name, usual) != usual]


def _unheld_by_the_builtin(values: Mapping[str, Any]) -> list[str]:
    """Find what makes a model that the built-in's artifact cannot hold."""
    if values.get("artifact") != "builtin":
        return []
    return [
        f"artifact=builtin holds w0, w and V alone, not what {name} adds to a model: use both, "
        "whose model.safetensors holds it, or ours"
        for name in beyond_the_builtin(values)
    ]


def _misplaced_ranking_values(values: Mapping[str, Any]) -> list[str]:
    """Find what is asked of ranking losses without one, and what they make no use of."""
    loss = values.get("loss")
    if loss is None:
        return [
            f"{name}={values[name]} needs loss=bpr or loss=warp"
            for name, default in (("num_negatives", None), ("negative_sampling_power", 0))
            if values.get(name, default) != default
        ]
    problems = []
    if values.get("optimizer") in WITHOUT_GRADIENTS:
        problems.append(
            f"loss={loss} needs gradients, so an optimizer such as adam, not {values['optimizer']}"
        )
    if values.get("bias_init_method") == "mean":
        problems.append(
            f"bias_init_method=mean must not be given with loss={loss}: labels are not predicted"
        )
    if values.get("positive_weight", 1) != 1:
        problems.append(
            f"positive_weight={values['positive_weight']} must not be given with loss={loss}: all "
            "rows that it learns from are positive"
        )
    if "validation_split" in values:
        problems.append(
            f"validation_split={values['validation_split']} must not be given with loss={loss}: "
            "rankings are judged on a validation channel"
        )
    return problems


def _missing_init_values(values: Mapping[str, Any], problems: list[str]) -> list[str]:
    """Find the initialisers whose only parameter is not set and has no default."""
    needs = {"uniform": "scale", "constant": "value"}
    return [
        f"{name} is required when {group}_init_method is {method}"
        for group in INIT_GROUPS
        if (method := values.get(f"{group}_init_method")) in needs
        and (name := f"{group}_init_{needs[method]}") not in values
        and not mentioned(name, problems)
    ]
