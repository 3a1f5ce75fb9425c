"""A whole training on the GPU kernel is the CPU kernel's, wherever the rows lie."""

import msgspec
import numpy as np
import pytest

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.evaluation import evaluate
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.initialization import draw_initial
from fm_algo.training.positives import Positives
from fm_algo.training.ranking.learner import RankingLearner
from fm_algo.training.report import EpochReport
from fm_algo.training.rows import Rows
from fm_algo.training.trainer import train

FEATURE_DIM, NUM_ROWS, NUM_FIELDS = 20, 20, 2


def planted_rows():
    """Rows of one active feature a field; the last mini-batch is shorter."""
    random = np.random.default_rng(1)
    width = FEATURE_DIM // NUM_FIELDS
    indices = random.integers(0, width, (NUM_ROWS, NUM_FIELDS)) + width * np.arange(NUM_FIELDS)
    indptr = np.arange(0, indices.size + 1, NUM_FIELDS)
    values = np.ones(indices.size, np.float32)
    rows = CSRBatch(indptr, indices.astype(np.int32).ravel(), values, None, FEATURE_DIM)
    planted = FMModel(
        "binary_classifier",
        np.zeros(1, np.float32),
        random.normal(0, 2, FEATURE_DIM).astype(np.float32),
        random.normal(0, 1, (FEATURE_DIM, 3)).astype(np.float32),
    )
    labels = (planted.margin(rows) > 0).astype(np.float32)
    return CSRBatch(indptr, rows.indices, values, labels, FEATURE_DIM)


HYPERPARAMETERS = parse_hyperparameters(
    {
        "feature_dim": FEATURE_DIM,
        "num_factors": 3,
        "predictor_type": "binary_classifier",
        "epochs": 3,
        "mini_batch_size": 8,
        "factors_init_sigma": 0.1,
        "linear_lr": 0.1,
        "factors_lr": 0.05,
        "eps": 1e-3,
    }
)


def trained(kernel, *, is_held=True):
    """Train; return the kernel, each epoch's loss and the metrics of the rows afterwards."""
    draw_initial(kernel.writable_model(), HYPERPARAMETERS)
    rows = planted_rows()
    take = kernel.hold(rows) if is_held else None
    source = CachedRows(rows, HYPERPARAMETERS, take)
    reports = train(GradientLearner(kernel, HYPERPARAMETERS, source), HYPERPARAMETERS)
    losses = [
        {metric.name: metric.value for metric in report.metrics}
        for report in reports
        if isinstance(report, EpochReport)
    ]
    metrics = evaluate(kernel, "binary_classifier", [rows])
    return kernel, losses, {metric.name: metric.value for metric in metrics}


def gpu_kernel(device):
    from fm_algo.training.gradient.gpu import GPUKernel

    return GPUKernel(HYPERPARAMETERS, device)


@pytest.fixture(scope="module")
def on_gpu(device):
    return trained(gpu_kernel(device))


def test_it_trains_as_the_cpu_kernel(on_gpu):
    kernel, losses, metrics = on_gpu
    cpu, cpu_losses, cpu_metrics = trained(CPUKernel(HYPERPARAMETERS))

    for got, expected in zip([*losses, metrics], [*cpu_losses, cpu_metrics], strict=True):
        assert got == pytest.approx(expected, rel=1e-5)
    for name in ("w0", "w", "V"):
        got, expected = getattr(kernel.model(), name), getattr(cpu.model(), name)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    name = "binary_classification_cross_entropy"
    assert losses[-1][name] < 0.9 * losses[0][name]


def test_rows_that_are_copied_batch_by_batch_give_the_same_bits(on_gpu, device):
    held, losses, _ = on_gpu
    copied, copied_losses, _ = trained(gpu_kernel(device), is_held=False)

    assert copied_losses == losses
    for name, array in held.state().items():
        assert array.tobytes() == copied.state()[name].tobytes(), name


@pytest.mark.parametrize("loss", ["bpr", "warp"])
def test_rankings_are_learnt_as_on_the_cpu(device, loss):
    from fm_algo.training.gradient.gpu import GPUKernel

    chosen = msgspec.structs.replace(HYPERPARAMETERS, loss=loss, num_negatives=2)
    rows, items = planted_rows(), np.arange(10, dtype=np.int32)
    ones = np.ones(len(rows.indices), np.float32)
    contexts = CSRBatch(np.arange(21), rows.indices[::2].copy(), ones[:20], None, FEATURE_DIM)
    of_items = CSRBatch(np.arange(11), items + 10, ones[:10], None, FEATURE_DIM)
    wanted = rows.indices[1::2] - np.int32(10)
    users = np.unique(contexts.indices, return_inverse=True)[1].astype(np.int64)
    positives = Positives(contexts, wanted, users, of_items)
    models, losses = [], []
    for kernel in (CPUKernel(chosen), GPUKernel(chosen, device)):
        learner = RankingLearner(kernel, chosen)
        draw_initial(learner.writable_model(), chosen)
        learner.take_rows(Rows(lambda _epoch: iter(()), positives=positives))
        reports = [each for each in train(learner, chosen) if isinstance(each, EpochReport)]
        losses.append([metric.value for each in reports for metric in each.metrics])
        models.append(learner.model())
    cpu, gpu = models
    np.testing.assert_allclose(gpu.V, cpu.V, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gpu.w, cpu.w, rtol=1e-4, atol=1e-5)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
