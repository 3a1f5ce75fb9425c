"""The hyperparameters of ranking losses: loss, num_negatives and negative_sampling_power."""

import json

import pytest

from fm_algo.errors import UserError
from fm_algo.hyperparameters import parse_hyperparameters

GIVEN = {"num_factors": "4", "predictor_type": "regressor", "feature_dim": "9"}


def problem(**changes):
    with pytest.raises(UserError) as caught:
        parse_hyperparameters(GIVEN | changes)
    return caught.value.message


def test_what_is_minimised_is_the_ranking_loss_if_there_is_one():
    plain = parse_hyperparameters(GIVEN)
    assert (plain.loss, plain.num_negatives, plain.negative_sampling_power) == (None, None, 0)
    assert plain.objective == "regressor"
    assert parse_hyperparameters(GIVEN | {"loss": "warp"}).objective == "warp"


def test_rows_of_a_ranking_loss_need_no_label():
    columns = {"user": "category", "item": "category"}
    given = {"num_factors": 4, "predictor_type": "regressor", "columns": json.dumps(columns)}
    assert parse_hyperparameters(given | {"loss": "bpr"}).columns == columns
    with pytest.raises(UserError, match="columns: none is the label"):
        parse_hyperparameters(given)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loss": "mrr"}, "loss='mrr' is not one of bpr, warp"),
        ({"num_negatives": "3"}, "num_negatives=3 needs loss=bpr or loss=warp"),
        (
            {"negative_sampling_power": "0.5"},
            "negative_sampling_power=0.5 needs loss=bpr or loss=warp",
        ),
        ({"loss": "bpr", "num_negatives": "0"}, "num_negatives='0' is not a whole number >= 1"),
        (
            {"loss": "bpr", "negative_sampling_power": "-1"},
            "negative_sampling_power='-1' is not a finite number >= 0",
        ),
        (
            {"loss": "warp", "optimizer": "mcmc"},
            "loss=warp needs gradients, so an optimizer such as adam, not mcmc",
        ),
        (
            {"loss": "bpr", "bias_init_method": "mean"},
            "bias_init_method=mean must not be given with loss=bpr: labels are not predicted",
        ),
        (
            {"loss": "bpr", "positive_weight": "2", "predictor_type": "binary_classifier"},
            "positive_weight=2.0 must not be given with loss=bpr: all rows that it learns from are "
            "positive",
        ),
        (
            {"loss": "warp", "validation_split": "0.1"},
            "validation_split=0.1 must not be given with loss=warp: rankings are judged on a "
            "validation channel",
        ),
    ],
)
def test_what_does_not_go_together_is_told(changes, told):
    assert told in problem(**changes)
