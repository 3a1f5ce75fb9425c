"""Training recovers a model that the data was drawn from."""

import numpy as np

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.evaluation import evaluate
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.initialization import initial_model
from fm_algo.training.trainer import train

FEATURE_DIM, NUM_FIELDS = 120, 6


def planted_rows(predictor_type, seed, num_rows):
    """Rows of one active feature a field; the interactions decide more than the linear part."""
    planted = np.random.default_rng(0)
    model = FMModel(
        predictor_type,
        np.array([0.3], np.float32),
        planted.normal(0, 0.3, FEATURE_DIM).astype(np.float32),
        planted.normal(0, 0.5, (FEATURE_DIM, 3)).astype(np.float32),
    )
    random = np.random.default_rng(seed)
    width = FEATURE_DIM // NUM_FIELDS
    fields = np.arange(NUM_FIELDS) * width
    indices = (random.integers(0, width, (num_rows, NUM_FIELDS)) + fields).astype(np.int32).ravel()
    indptr = np.arange(0, len(indices) + 1, NUM_FIELDS, dtype=np.int64)
    rows = CSRBatch(indptr, indices, np.ones(len(indices), np.float32), None, FEATURE_DIM)
    if predictor_type == "regressor":
        labels = model.margin(rows) + random.normal(0, 0.1, num_rows)
    else:
        labels = random.random(num_rows) < model.score(rows)
    labels = np.asarray(labels, np.float32)
    return model, CSRBatch(indptr, indices, rows.values, labels, FEATURE_DIM)


def trained_kernel(predictor_type, **changes):
    model, rows = planted_rows(predictor_type, 1, 40_000)
    hyperparameters = parse_hyperparameters(
        {
            "feature_dim": FEATURE_DIM,
            "num_factors": 4,
            "predictor_type": predictor_type,
            "epochs": 15,
            "mini_batch_size": 200,
            "linear_lr": 0.01,
            "factors_lr": 0.01,
            "factors_init_sigma": 0.05,
            "linear_wd": 0,
            "factors_wd": 0,
            **changes,
        }
    )
    kernel = CPUKernel.starting_from(initial_model(hyperparameters), hyperparameters)
    source = CachedRows(rows, hyperparameters)
    for _report in train(GradientLearner(kernel, hyperparameters, source), hyperparameters):
        pass
    return model, kernel


def values_of(metrics):
    return {metric.name: metric.value for metric in metrics}


def test_a_regressor_comes_down_to_the_noise():
    _model, kernel = trained_kernel("regressor", epochs=25, linear_lr=0.003, factors_lr=0.003)
    _, test = planted_rows("regressor", 2, 10_000)
    assert values_of(evaluate(kernel, kernel.model().predictor_type, [test]))["rmse"] < 0.11


def test_interactions_are_recovered_in_size_and_sign():
    """Factors are unique up to rotation; their inner products are not."""
    model, kernel = trained_kernel("regressor")
    first, second = np.meshgrid(np.arange(20), np.arange(20, 40))  # features of two fields
    planted = np.sum(model.V[first] * model.V[second], axis=-1)
    found = np.sum(kernel.model().V[first] * kernel.model().V[second], axis=-1)

    # A constant can move between fields' linear parts and interactions: compare what is left.
    def centred(pairs):
        return pairs - pairs.mean(0) - pairs.mean(1, keepdims=True) + pairs.mean()

    correlation = np.corrcoef(centred(planted).ravel(), centred(found).ravel())[0, 1]
    assert correlation > 0.98


def test_a_classifier_comes_near_the_entropy_of_the_labels():
    model, kernel = trained_kernel("binary_classifier", epochs=8)
    _, test = planted_rows("binary_classifier", 2, 20_000)
    score = model.score(test).astype(np.float64)
    entropy = -np.mean(np.where(test.labels == 1, np.log(score), np.log1p(-score)))
    found = values_of(evaluate(kernel, kernel.model().predictor_type, [test]))
    assert entropy < found["binary_classification_cross_entropy"] < entropy + 0.03
    assert found["roc_auc_score"] > 0.75
