"""What training makes of the rows it is given."""

import numpy as np
import pytest

from fm_algo.errors import UserError
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.initialization import draw_initial
from fm_algo.training.rows import Rows
from fm_algo.training.select import make_learner
from fm_algo.training.trainer import train
from fm_algo.training.validation_split import split_rows

LABELS = np.float32([0, 1, 1, 0, 1])
GRADIENTS = ["adam", "adagrad", "rowwise_adagrad", "ftrl", "sgd"]


def rows_of(weights=None):
    return CSRBatch.of(np.eye(5, dtype=np.float32), LABELS, sample_weight=weights)


def test_rows_of_weight_0_are_left_out():
    rows = Rows.in_memory(rows_of([0, 1, 2, 0, 1]))

    assert rows.cached.indices.tolist() == [1, 2, 4]
    assert [batch.weights.tolist() for batch in rows.blocks(0)] == [[1, 2, 1]]


def test_rows_that_all_have_weight_0_are_refused():
    with pytest.raises(UserError) as caught:
        Rows.in_memory(rows_of(np.zeros(5)))
    assert caught.value.message == "all 5 rows have weight 0, allowed is a sum above 0"


def test_rows_of_weight_0_are_not_split_off():
    whole, there = rows_of([0, 1, 2, 0, 1]), rows_of().take(np.array([1, 2, 4]))

    for part, expected in zip(split_rows(whole, 0.3, 1), split_rows(there, 0.3, 1), strict=True):
        assert part.indices.tolist() == expected.indices.tolist()


@pytest.mark.parametrize("weights", [None, [1, 2, 1, 4, 0.5]])
def test_positives_are_weighed(weights):
    batch = rows_of(weights)
    streamed = Rows(lambda _epoch: iter([batch.rows(0, 2), batch.rows(2, 5)]))
    expected = np.where(LABELS == 1, 10, 1) * (1 if weights is None else np.array(weights))
    for rows in (Rows.in_memory(batch), streamed):
        weighed = rows.weighing_positives(10)
        found = [weight for block in weighed.blocks(0) for weight in block.weights.tolist()]
        assert found == expected.tolist()
        assert rows.weighing_positives(1) is rows
    assert batch.weights is None or batch.weights.tolist() == weights


def random_rows(num_rows=300, feature_dim=12):
    random = np.random.default_rng(2)
    X = random.normal(0, 1, (num_rows, feature_dim)) * (random.random((num_rows, 1)) < 0.8)
    labels = (X[:, 0] + random.normal(0, 1, num_rows) > 1).astype(np.float32)
    return X.astype(np.float32), labels, random.choice([0, 1, 2, 3], num_rows)


def trained(rows, **changes):
    chosen = parse_hyperparameters(
        {
            "feature_dim": 12,
            "num_factors": 4,
            "predictor_type": "binary_classifier",
            "linear_lr": 0.05,
            "factors_lr": 0.05,
            "factors_init_sigma": 0.1,
            "eps": 1e-3,
            "epochs": 4,
            **changes,
        }
    )
    learner = make_learner(chosen)
    draw_initial(learner.writable_model(), chosen)
    learner.take_rows(rows)
    reports = list(train(learner, chosen))
    return learner.model(), [metric.value for metric in reports[-1].metrics]


def assert_alike(one, other, **tolerance):
    for name in ("w0", "w", "V"):
        np.testing.assert_allclose(getattr(one[0], name), getattr(other[0], name), **tolerance)
    assert one[1] == pytest.approx(other[1], rel=1e-4)


@pytest.mark.parametrize("optimizer", GRADIENTS)
def test_full_batches_of_weighted_rows_train_as_those_of_copies(optimizer):
    X, labels, weights = random_rows()
    copies = np.repeat(np.arange(len(X)), weights)
    changes = {"optimizer": optimizer, "mini_batch_size": 1000, "rescale_grad": 0.01}

    weighted = trained(Rows.in_memory(CSRBatch.of(X, labels, sample_weight=weights)), **changes)
    copied = trained(Rows.in_memory(CSRBatch.of(X[copies], labels[copies])), **changes)

    assert_alike(weighted, copied, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("optimizer", [*GRADIENTS, "als", "mcmc"])
def test_rows_of_weight_0_are_as_if_they_were_not_there(optimizer):
    X, labels, weights = random_rows()
    is_there = weights > 0

    weighted, absent = (
        trained(Rows.in_memory(rows), optimizer=optimizer, mini_batch_size=50)
        for rows in (
            CSRBatch.of(X, labels, sample_weight=weights),
            CSRBatch.of(X[is_there], labels[is_there], sample_weight=weights[is_there]),
        )
    )

    for name in ("w0", "w", "V"):
        assert getattr(weighted[0], name).tobytes() == getattr(absent[0], name).tobytes()
    assert weighted[1] == absent[1]


@pytest.mark.parametrize("optimizer", [*GRADIENTS, "als", "mcmc"])
def test_positive_weight_is_a_weight_of_the_positives(optimizer):
    X, labels, _ = random_rows()
    weights = np.where(labels == 1, 3.5, 1)

    by_name, by_row = (
        trained(Rows.in_memory(rows), optimizer=optimizer, mini_batch_size=50, **changes)
        for rows, changes in (
            (CSRBatch.of(X, labels), {"positive_weight": 3.5}),
            (CSRBatch.of(X, labels, sample_weight=weights), {}),
        )
    )

    for name in ("w0", "w", "V"):
        assert getattr(by_name[0], name).tobytes() == getattr(by_row[0], name).tobytes()
    assert by_name[1] == by_row[1]


@pytest.mark.parametrize("optimizer", GRADIENTS)
def test_weighted_rows_that_are_read_again_train_as_those_in_memory(optimizer):
    X, labels, weights = random_rows()
    rows = CSRBatch.of(X, labels, sample_weight=weights).drop_weightless()
    blocks = [rows.rows(0, 70), rows.rows(70, 71), rows.rows(71, rows.num_rows)]
    changes = {
        "optimizer": optimizer, "mini_batch_size": 32, "shuffle": False, "positive_weight": 2
    }  # fmt: skip

    in_memory = trained(Rows.in_memory(rows), **changes)
    streamed = trained(Rows(lambda _epoch: iter(blocks), None, 0), **changes)

    for name in ("w0", "w", "V"):
        assert getattr(in_memory[0], name).tobytes() == getattr(streamed[0], name).tobytes()
    assert in_memory[1] == streamed[1]
