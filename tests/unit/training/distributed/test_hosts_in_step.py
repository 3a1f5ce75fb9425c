"""Processes that train one model over loopback: the model is that of one host on all the rows."""

import pytest
from run_hosts import HYPERPARAMETERS, assert_trained_as_one, draw_rows, run_hosts, weigh


@pytest.mark.parametrize(
    ("split", "optimizer", "num_factors", "num_hosts", "num_rows"),
    [
        pytest.param("RowKernel", "adam", 5, 2, 240, marks=pytest.mark.hosts),
        pytest.param("RowKernel", "adam", 5, 3, 37, id="by feature, one host with a step more"),
        pytest.param("RowKernel", "rowwise_adagrad", 16, 2, 240, marks=pytest.mark.hosts),
        pytest.param("FactorKernel", "ftrl", 19, 2, 240, marks=pytest.mark.hosts),
        pytest.param(
            "FactorKernel",
            "adam",
            24,
            3,
            37,
            id="by factor, one host with a step more",
            marks=pytest.mark.hosts,
        ),
    ],
)
def test_hosts_train_as_one_on_all_the_rows(
    tmp_path, root, split, optimizer, num_factors, num_hosts, num_rows
):
    rows = draw_rows(num_rows)
    hyperparameters = HYPERPARAMETERS | {"num_factors": num_factors, "optimizer": optimizer}
    codes, errors = run_hosts(tmp_path, root, rows, num_hosts, hyperparameters)

    assert codes == [0] * num_hosts, "\n".join(errors)
    assert {path.read_text() for path in tmp_path.glob("split*")} == {split}
    assert_trained_as_one(tmp_path, rows, num_hosts, hyperparameters)


@pytest.mark.hosts
@pytest.mark.parametrize(
    "num_factors", [pytest.param(5, id="by feature"), pytest.param(16, id="by factor")]
)
def test_hosts_train_on_weighted_rows_as_one(tmp_path, root, num_factors):
    rows = weigh(draw_rows(37))
    hyperparameters = HYPERPARAMETERS | {"num_factors": num_factors, "epochs": 2}

    codes, errors = run_hosts(tmp_path, root, rows, 2, hyperparameters)

    assert codes == [0, 0], "\n".join(errors)
    assert_trained_as_one(tmp_path, rows, 2, hyperparameters)


@pytest.mark.hosts
def test_a_host_that_fails_does_not_wait_for_rows_of_one_that_has_none_yet(tmp_path, root):
    """It reads ahead when it fails, and the other host does not know yet."""
    rows = draw_rows(240)
    rows.values[rows.indptr[3] : rows.indptr[4]] = 3e38  # one of host 1's first mini-batch
    (tmp_path / "slow0").touch()
    hyperparameters = HYPERPARAMETERS | {"num_factors": 16}

    codes, errors = run_hosts(tmp_path, root, rows, 2, hyperparameters)

    assert codes == [1, 1], "\n".join(errors)
    assert all("training diverged in epoch 0, mini-batch 0" in error for error in errors)
