"""GPUs that train one model, a process each: the model is that of one kernel on all the rows."""

import pytest
from run_hosts import HYPERPARAMETERS, assert_trained_as_one, draw_rows, run_hosts, weigh


@pytest.mark.parametrize(
    ("changes", "num_hosts", "num_gpus"),
    [
        pytest.param({"num_factors": 5, "epochs": 2}, 1, 2, id="fewer than 8 factors each"),
        pytest.param(
            {"num_factors": 24, "optimizer": "ftrl", "predictor_type": "regressor"},
            1,
            3,
            marks=pytest.mark.hosts,
        ),
        pytest.param({"num_factors": 5}, 2, 2, marks=pytest.mark.hosts),
        pytest.param({"num_factors": 3, "optimizer": "adagrad"}, 3, 1, marks=pytest.mark.hosts),
    ],
)
def test_gpus_train_as_one_kernel_on_all_the_rows(tmp_path, root, changes, num_hosts, num_gpus):
    rows = draw_rows(13)
    hyperparameters = HYPERPARAMETERS | {"mini_batch_size": 4, "epochs": 1} | changes

    codes, errors = run_hosts(tmp_path, root, rows, num_hosts, hyperparameters, num_gpus)

    assert codes == [0] * num_hosts * num_gpus, "\n".join(errors)
    assert {path.read_text() for path in tmp_path.glob("split*")} == {"GPUFactorKernel"}
    assert_trained_as_one(tmp_path, rows, num_hosts, hyperparameters)


@pytest.mark.hosts
def test_gpus_train_on_weighted_rows_as_one_kernel(tmp_path, root):
    rows = weigh(draw_rows(13))
    hyperparameters = HYPERPARAMETERS | {"mini_batch_size": 4, "epochs": 1, "num_factors": 3}

    codes, errors = run_hosts(tmp_path, root, rows, 1, hyperparameters, 2)

    assert codes == [0, 0], "\n".join(errors)
    assert_trained_as_one(tmp_path, rows, 1, hyperparameters)
