"""Gradient here, update there: as one host does both at once."""

import importlib

import numpy as np
import pytest

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.evaluation import evaluate
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.gradient.reference import ReferenceKernel
from fm_algo.training.initialization import draw_initial, initial_model
from fm_algo.training.trainer import train

FEATURE_DIM = 60


def random_rows(num_rows, *, classes=False):
    random = np.random.default_rng(5)
    rows, indices = np.nonzero(random.random((num_rows, FEATURE_DIM)) < 0.2)
    indptr = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=num_rows), out=indptr[1:])
    values = random.normal(0, 1, len(indices)).astype(np.float32)
    labels = random.normal(0, 1, num_rows).astype(np.float32)
    labels = (labels > 0).astype(np.float32) if classes else labels
    return CSRBatch(indptr, indices.astype(np.int32), values, labels, FEATURE_DIM)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam"},
        {"optimizer": "adagrad"},
        {"optimizer": "rowwise_adagrad"},
        {"optimizer": "ftrl", "l1": 0.01},
        {"optimizer": "sgd"},
        {"num_factors": 8, "clip_gradient": 0.01},
        {"num_factors": 1, "use_linear": "false", "use_bias": "false"},
        {"predictor_type": "binary_classifier", "rescale_grad": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("split", ["row_kernel.RowKernel", "factor_kernel.FactorKernel"])
def test_several_hosts_passes_train_as_the_reference(group, split, changes):
    module, _, name = split.partition(".")
    make = getattr(importlib.import_module(f"fm_algo.training.distributed.{module}"), name)
    from fm_algo.training.distributed.shared_rows import RowService

    chosen = parse_hyperparameters(
        {
            "feature_dim": FEATURE_DIM,
            "num_factors": 11,
            "predictor_type": "regressor",
            "mini_batch_size": 32,
            "epochs": 2,
            "linear_lr": 0.02,
            "factors_lr": 0.02,
            "factors_init_sigma": 0.1,
            "eps": 1e-3,
            **changes,
        }
    )
    rows = random_rows(100, classes=chosen.predictor_type == "binary_classifier")
    reference = ReferenceKernel(initial_model(chosen), chosen)
    kernel = make(chosen, group)
    draw_initial(kernel.writable_model(), chosen)

    expected = list(train(GradientLearner(reference, chosen, CachedRows(rows, chosen)), chosen))
    learner = GradientLearner(kernel, chosen, CachedRows(rows, chosen))
    reports = list(train(learner, chosen, peers=kernel))

    own, model = RowService(kernel).model(), reference.model()
    np.testing.assert_allclose(own.w0, model.w0, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(own.w[:], model.w, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(own.V[:], model.V, rtol=2e-5, atol=2e-5)
    for got, wanted in (
        (reports[-1].metrics, expected[-1].metrics),
        (
            evaluate(kernel, chosen.predictor_type, [rows], kernel),
            evaluate(reference, chosen.predictor_type, [rows]),
        ),
    ):
        assert [metric.name for metric in got] == [metric.name for metric in wanted]
        values = [metric.value for metric in got], [metric.value for metric in wanted]
        np.testing.assert_allclose(*values, rtol=1e-4)
