"""scikit-learn's own checks of an estimator, all of them, for each way of learning.

One is skipped by scikit-learn itself: check_array_api_input, unless SCIPY_ARRAY_API is set.
"""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fm_algo import FMClassifier, FMRegressor

ONE_THREAD = {"num_threads": 1}  # rows are few, and threads that wait for work get in the way
BY_GRADIENTS = {
    **ONE_THREAD,
    "optimizer": "rowwise_adagrad",
    "num_factors": 4,
    "epochs": 30,
    "mini_batch_size": 10,
    "bias_lr": 0.3,
    "linear_lr": 0.1,
    "factors_lr": 0.1,
}
ESTIMATORS = [
    FMRegressor(**ONE_THREAD),
    FMClassifier(**ONE_THREAD),
    FMRegressor(optimizer="als", **ONE_THREAD),
    FMRegressor(**BY_GRADIENTS),
    FMClassifier(**BY_GRADIENTS),
]

DRAWS_BY_ROW = (
    "a row of weight 2 and two equal rows are other rows to a training: mini-batches are cut and "
    "numbers are drawn row by row, so the models agree, but not to seven digits"
)
EXPECTED_TO_FAIL = {
    "check_sample_weight_equivalence_on_dense_data": DRAWS_BY_ROW,
    "check_sample_weight_equivalence_on_sparse_data": DRAWS_BY_ROW,
}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda _estimator: EXPECTED_TO_FAIL)
# Checks pass bare numbers to estimators fitted on data frames, and the like.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_scikit_learns_check(estimator, check):
    check(estimator)
