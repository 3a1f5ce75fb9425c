"""The GPU kernel does what the reference kernel does."""

from dataclasses import replace

import numpy as np
import pytest

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.reference import ReferenceKernel
from fm_algo.training.initialization import initial_model
from fm_algo.training.metrics import metrics_for

FEATURE_DIM = 12
OPTIMIZERS = ["adam", "adagrad", "rowwise_adagrad", "ftrl", "sgd"]
SAME = {"rtol": 2e-5, "atol": 2e-5}


def make_batch(seed, num_rows=7, *, values="general", predictor_type="regressor", hot=False):
    """Rows of a few entries; every third is empty, unless all share a feature."""
    random = np.random.default_rng(seed)
    present = random.random((num_rows, FEATURE_DIM)) < 0.2
    present[::3] = False
    if hot:
        present[:, 5] = True
    rows, indices = np.nonzero(present)
    indptr = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=num_rows), out=indptr[1:])
    x = np.ones(len(indices)) if values == "one" else random.normal(0, 1, len(indices))
    labels = random.normal(0, 1, num_rows).astype(np.float32)
    if predictor_type == "binary_classifier":
        labels = (labels > 0).astype(np.float32)
    return CSRBatch(indptr, indices.astype(np.int32), x.astype(np.float32), labels, FEATURE_DIM)


def hyperparameters(**changes):
    # A large eps, for the reason given where the CPU kernel is compared.
    return parse_hyperparameters(
        {
            "feature_dim": FEATURE_DIM,
            "num_factors": 5,
            "predictor_type": "regressor",
            "mini_batch_size": 8,
            "linear_lr": 0.02,
            "factors_lr": 0.02,
            "factors_init_sigma": 0.1,
            "eps": 1e-3,
            **changes,
        }
    )


def gpu_kernel(chosen, device):
    from fm_algo.training.gradient.gpu import GPUKernel

    return GPUKernel.starting_from(initial_model(chosen), chosen, device)


def gpu_step(kernel, batch):
    return kernel.step(kernel.prepare(batch))()


def step(kernel, batch):
    return kernel.step(kernel.prepare(batch))


def assert_same_training(chosen, batches, device):
    reference = ReferenceKernel(initial_model(chosen), chosen)
    kernel = gpu_kernel(chosen, device)
    for batch in batches:
        sums = metrics_for(chosen.predictor_type)
        sums.update(step(reference, batch), batch.labels, batch.weights)
        assert gpu_step(kernel, batch) == pytest.approx(sums.state(), rel=2e-5, abs=2e-5)
    assert_same_model(kernel, reference)
    return kernel


def assert_same_model(kernel, other):
    for name in ("w0", "w", "V"):
        got, expected = getattr(kernel.model(), name), getattr(other.model(), name)
        np.testing.assert_allclose(got, expected, err_msg=name, **SAME)


@pytest.mark.parametrize("values", ["one", "general"])
@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_optimizer_trains_as_in_the_reference(device, optimizer, predictor_type, values):
    chosen = hyperparameters(
        predictor_type=predictor_type, optimizer=optimizer, l1=0.001, clip_gradient=0.5
    )
    batches = [
        make_batch(seed, 5, values=values, predictor_type=predictor_type) for seed in range(2)
    ]
    assert_same_training(chosen, batches, device)


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_gradient": 0.01},
        {"rescale_grad": 1.0, "bias_wd": 0.5, "linear_wd": 0.5, "factors_wd": 0.5},
        {"use_bias": False, "num_factors": 1},
        {"use_linear": False, "num_factors": 16},
    ],
    ids=str,
)
def test_each_hyperparameter_acts_as_in_the_reference(device, changes):
    assert_same_training(hyperparameters(**changes), [make_batch(s) for s in range(3)], device)


@pytest.mark.parametrize("values", ["one", "general"])
def test_a_feature_of_all_rows_is_summed_up_in_whole_tiles(device, values, monkeypatch):
    from fm_algo.training.gradient import gpu, gpu_work

    monkeypatch.setattr(gpu, "TILE", 8)
    monkeypatch.setattr(gpu_work, "TILE", 8)
    monkeypatch.setattr(gpu_work, "_COLUMN_TILE", 16)  # two pairs, or tiles, at once
    batch = make_batch(0, 61, values=values, hot=True)
    assert_same_training(hyperparameters(), [batch], device)


@pytest.mark.parametrize("optimizer", ["adam", "rowwise_adagrad"])
def test_factors_may_be_more_than_a_program_holds(device, optimizer, monkeypatch):
    from fm_algo.training.gradient import gpu_work

    monkeypatch.setattr(gpu_work, "_MOST_FACTORS", 8)
    chosen = hyperparameters(optimizer=optimizer, num_factors=20)
    assert_same_training(chosen, [make_batch(s, 4) for s in range(2)], device)


def test_rows_without_entries_train_the_bias(device):
    empty = make_batch(0, 1)
    assert not empty.num_entries
    kernel = assert_same_training(hyperparameters(), [empty, make_batch(1)], device)
    assert kernel.model().w0 != initial_model(hyperparameters()).w0


def test_margins_are_the_references(device, monkeypatch):
    from fm_algo.training.gradient import gpu

    monkeypatch.setattr(gpu, "_MARGIN_ENTRIES", 5)
    chosen, batch = hyperparameters(), make_batch(0, 11)
    expected = ReferenceKernel(initial_model(chosen), chosen).margin(batch)

    unlabelled = replace(batch, labels=None)
    np.testing.assert_allclose(gpu_kernel(chosen, device).margin(unlabelled), expected, **SAME)


@pytest.mark.parametrize("optimizer", ["adam", "ftrl"])
def test_one_kernel_goes_on_from_the_others_state(device, optimizer):
    chosen = hyperparameters(optimizer=optimizer)
    cpu, gpu = CPUKernel.starting_from(initial_model(chosen), chosen), gpu_kernel(chosen, device)
    step(cpu, make_batch(0))
    gpu_step(gpu, make_batch(0))
    assert [*cpu.state()] == [*gpu.state()]

    swapped_cpu, swapped_gpu = CPUKernel(chosen), gpu_kernel(chosen, device)
    for target, source in ((swapped_cpu, gpu), (swapped_gpu, cpu)):
        for name, array in target.state().items():
            array[...] = source.state()[name]
    step(swapped_cpu, make_batch(1))
    gpu_step(swapped_gpu, make_batch(1))
    step(cpu, make_batch(1))

    assert_same_model(swapped_cpu, cpu)
    assert_same_model(swapped_gpu, cpu)
    assert gpu.state()["num_steps"] == 1
    assert swapped_gpu.state()["num_steps"] == 2


def test_what_is_written_to_the_model_counts(device):
    kernel, batch = gpu_kernel(hyperparameters(), device), make_batch(0)
    before = kernel.margin(batch)
    kernel.writable_model().w0[:] += 1

    np.testing.assert_allclose(kernel.margin(batch), before + 1, **SAME)


def test_the_same_training_gives_the_same_bits(device):
    trained = []
    for _ in range(2):
        kernel = gpu_kernel(hyperparameters(), device)
        gpu_step(kernel, make_batch(0, hot=True))
        trained.append(kernel.state())
    for name, array in trained[0].items():
        assert array.tobytes() == trained[1][name].tobytes(), name


def weigh(batch, seed):
    weights = np.random.default_rng(seed).choice([0.25, 1, 3], batch.num_rows)
    return replace(batch, weights=weights.astype(np.float32))


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_weighted_rows_train_as_in_the_reference(device, optimizer, predictor_type):
    chosen = hyperparameters(predictor_type=predictor_type, optimizer=optimizer)
    first, second, third = (make_batch(seed, 5, predictor_type=predictor_type) for seed in range(3))
    assert_same_training(chosen, [weigh(first, 0), second, weigh(third, 1)], device)


def test_weighted_rows_that_stay_on_the_device_train_as_in_the_reference(device):
    chosen, rows = hyperparameters(), weigh(make_batch(0, 11), 0)
    reference = ReferenceKernel(initial_model(chosen), chosen)
    kernel = gpu_kernel(chosen, device)
    take = kernel.hold(rows)
    for numbers in (np.array([7, 2, 9, 1]), np.array([0, 10])):
        sums = metrics_for("regressor")
        batch = rows.take(numbers)
        sums.update(step(reference, batch), batch.labels, batch.weights)
        assert kernel.step(take(numbers))() == pytest.approx(sums.state(), rel=2e-5, abs=2e-5)
    assert_same_model(kernel, reference)


@pytest.mark.parametrize("loss", ["bpr", "warp"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_comparisons_train_as_in_the_reference(device, optimizer, loss):
    chosen = hyperparameters(loss=loss, optimizer=optimizer, linear_init_sigma=1)
    reference = ReferenceKernel(initial_model(chosen), chosen)
    kernel = gpu_kernel(chosen, device)
    for seed, group in ((0, [1, 0]), (1, [1, 0, 0])):
        labels = np.array(group * 2, np.float32)
        batch = replace(make_batch(seed, len(labels)), labels=labels)
        if seed:
            weights = np.repeat(np.array([0.5, 3], np.float32), len(group))
            batch = replace(batch, weights=weights)
        sums = metrics_for(loss)
        sums.update(step(reference, batch), batch.labels, batch.weights)
        assert gpu_step(kernel, batch) == pytest.approx(sums.state(), rel=2e-5, abs=2e-5)
    assert_same_model(kernel, reference)
