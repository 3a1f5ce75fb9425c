"""The GPU kernel with weights of fields does what the reference kernel does."""

from dataclasses import replace

import numpy as np
import pytest

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.gradient.cpu_fields import FieldCPUKernel
from fm_algo.training.gradient.reference import ReferenceKernel
from fm_algo.training.initialization import initial_model
from fm_algo.training.metrics import metrics_for

FEATURE_DIM = 12
FIELD_OF = np.array([0, 0, 1, 1, 3, 0, 3, 1, 2, 2, 0, 3], np.int32)
"""Fields in several runs each; no row has an entry of the last field, number 4."""
SPACE = FeatureSpace.of_map(list("abcde"), FIELD_OF)
SAME = {"rtol": 3e-5, "atol": 3e-5}


def make_batch(seed, num_rows=5, *, values="general", is_classifier=False, weighted=False):
    """Rows of a few entries in any order; every third is empty."""
    random = np.random.default_rng(seed)
    present = random.random((num_rows, FEATURE_DIM)) < 0.4
    present[::3] = False
    rows, indices = np.nonzero(present)
    order = np.lexsort((random.random(len(rows)), rows))
    x = np.ones(len(indices)) if values == "one" else random.normal(0, 1, len(indices))
    labels = random.normal(0, 1, num_rows)
    return CSRBatch(
        np.append(0, np.cumsum(np.bincount(rows, minlength=num_rows))),
        indices[order].astype(np.int32),
        x.astype(np.float32),
        (labels > 0 if is_classifier else labels).astype(np.float32),
        FEATURE_DIM,
        random.choice([0.25, 1, 3], num_rows).astype(np.float32) if weighted else None,
    )


def hyperparameters(**changes):
    return parse_hyperparameters(
        {
            "feature_dim": FEATURE_DIM,
            "num_factors": 5,
            "predictor_type": "regressor",
            "mini_batch_size": 8,
            "interaction": "field_weighted",
            "linear_lr": 0.02,
            "factors_lr": 0.02,
            "factors_init_sigma": 0.1,
            "eps": 1e-3,
            **changes,
        }
    )


def start(chosen):
    """An initial model whose weights of fields are not all alike."""
    model = initial_model(chosen, SPACE)
    R = np.random.default_rng(1).normal(1, 0.5, model.field_weights.R.shape)
    model.field_weights.R[:] = R + R.T
    return model


def gpu_kernel(chosen, device):
    from fm_algo.training.gradient.gpu_fields import FieldGPUKernel

    return FieldGPUKernel.starting_from(start(chosen), chosen, device)


def step(kernel, batch):
    return kernel.step(kernel.prepare(batch))


def assert_same_model(kernel, other):
    for name in ("w0", "w", "V"):
        got, expected = getattr(kernel.model(), name), getattr(other.model(), name)
        np.testing.assert_allclose(got, expected, err_msg=name, **SAME)
    got, expected = kernel.model().field_weights.R, other.model().field_weights.R
    np.testing.assert_allclose(got, expected, **SAME)
    np.testing.assert_array_equal(got, got.T)


def assert_same_training(chosen, batches, device):
    reference, kernel = ReferenceKernel(start(chosen), chosen), gpu_kernel(chosen, device)
    for batch in batches:
        sums = metrics_for(chosen.predictor_type)
        sums.update(step(reference, batch), batch.labels, batch.weights)
        assert step(kernel, batch)() == pytest.approx(sums.state(), rel=3e-5, abs=3e-5)
    assert_same_model(kernel, reference)
    return kernel


@pytest.mark.parametrize(
    ("optimizer", "predictor_type", "num_factors"),
    [
        ("adam", "regressor", 5),
        ("adam", "binary_classifier", 16),
        ("adagrad", "binary_classifier", 5),
        ("rowwise_adagrad", "regressor", 24),
        ("ftrl", "binary_classifier", 5),
        ("sgd", "regressor", 16),
    ],
)
def test_each_optimizer_trains_as_in_the_reference(device, optimizer, predictor_type, num_factors):
    chosen = hyperparameters(
        optimizer=optimizer,
        predictor_type=predictor_type,
        num_factors=num_factors,
        l1=0.001,
        clip_gradient=0.5,
        field_weights_wd=0.1,
    )
    is_classifier = predictor_type == "binary_classifier"
    batches = [make_batch(seed, is_classifier=is_classifier) for seed in range(3)]
    kernel = assert_same_training(chosen, batches, device)

    moved = np.abs(kernel.model().field_weights.R - start(chosen).field_weights.R)
    assert moved[:4, :4].max() > 1e-3  # they were learnt
    assert not moved[4].any()  # no row says anything of this field


@pytest.mark.parametrize(
    "changes",
    [
        {"use_linear": False, "use_bias": False},
        {"field_weights_lr": 0.3, "num_factors": 1},
        {"rescale_grad": 1.0, "factors_wd": 0.5, "linear_wd": 0.5},
    ],
    ids=str,
)
def test_each_hyperparameter_acts_as_in_the_reference(device, changes):
    assert_same_training(hyperparameters(**changes), [make_batch(s) for s in range(2)], device)


def test_rows_may_have_weights_and_values_may_be_1(device):
    batches = [
        make_batch(0, weighted=True), make_batch(1, values="one"), make_batch(2, 3, weighted=True)
    ]  # fmt: skip
    assert_same_training(hyperparameters(), batches, device)


def test_rows_without_entries_train_the_bias(device):
    empty = make_batch(0, 1)
    assert not empty.num_entries
    kernel = assert_same_training(hyperparameters(), [empty, make_batch(1)], device)
    assert kernel.model().w0 != start(hyperparameters()).w0


def test_rows_are_taken_in_pieces(device, monkeypatch):
    from fm_algo.training.gradient import gpu_fields

    monkeypatch.setattr(gpu_fields, "_MOST_NUMBERS", 1)  # so a piece is one block of rows
    batch = make_batch(0, 2 * gpu_fields.BLOCK_ROWS + 3)
    few = replace(batch, indptr=np.minimum(batch.indptr, 130))
    few = replace(few, indices=batch.indices[:130], values=batch.values[:130])
    assert few.indptr[2 * gpu_fields.BLOCK_ROWS - 20] < 130  # entries in two pieces, none in one
    assert_same_training(hyperparameters(), [few], device)


@pytest.mark.parametrize("optimizer", ["adam", "rowwise_adagrad"])
def test_a_field_of_many_entries_may_be_more_than_a_program_holds(device, optimizer, monkeypatch):
    from fm_algo.training.gradient import gpu, gpu_work

    monkeypatch.setattr(gpu_work, "_MOST_FACTORS", 8)
    monkeypatch.setattr(gpu_work, "_ROW_TILE", 16)  # two entries at once
    monkeypatch.setattr(gpu_work, "_COLUMN_TILE", 16)
    monkeypatch.setattr(gpu, "TILE", 8)
    monkeypatch.setattr(gpu_work, "TILE", 8)  # a frequent feature is summed up in whole tiles
    random = np.random.default_rng(0)
    indices = np.tile(np.array([0, 1, 4, 5, 10, 2, 11], np.int32), 10)  # five of one field
    batch = CSRBatch(
        np.arange(0, 71, 7), indices, random.normal(size=70).astype(np.float32),
        random.normal(size=10).astype(np.float32), FEATURE_DIM,
    )  # fmt: skip
    chosen = hyperparameters(optimizer=optimizer, num_factors=20)
    assert_same_training(chosen, [batch], device)


def test_a_field_of_one_entry_per_row_says_nothing_of_pairs_within(device):
    indices = np.array([0, 2, 8, 1, 3, 4, 5, 7, 6], np.int32)
    values = np.random.default_rng(0).normal(size=9).astype(np.float32)
    batch = CSRBatch(np.arange(0, 10, 3), indices, values, np.ones(3, np.float32), FEATURE_DIM)
    kernel = assert_same_training(hyperparameters(field_weights_wd=0.1), [batch], device)

    before, after = start(hyperparameters()).field_weights.R, kernel.model().field_weights.R
    assert after.diagonal().tolist() == before.diagonal().tolist()
    assert after[0, 1] != before[0, 1]


def test_margins_are_the_references(device, monkeypatch):
    from fm_algo.training.gradient import gpu

    monkeypatch.setattr(gpu, "_MARGIN_ENTRIES", 9)
    chosen, batch = hyperparameters(), make_batch(0, 8)
    expected = ReferenceKernel(start(chosen), chosen).margin(batch)

    unlabelled = replace(batch, labels=None)
    np.testing.assert_allclose(gpu_kernel(chosen, device).margin(unlabelled), expected, **SAME)


def test_rows_that_stay_on_the_device_give_the_same_bits(device):
    chosen, rows = hyperparameters(), make_batch(0, 11, weighted=True)
    held, copied = gpu_kernel(chosen, device), gpu_kernel(chosen, device)
    take = held.hold(rows)
    for numbers in (np.array([7, 2, 9, 1]), np.array([0, 10])):
        sums = held.step(take(numbers))()
        assert sums == step(copied, rows.take(numbers))()
    for name, array in held.state().items():
        assert array.tobytes() == copied.state()[name].tobytes(), name


@pytest.mark.parametrize("optimizer", ["adam", "ftrl"])
def test_one_kernel_goes_on_from_the_others_state(device, optimizer):
    chosen = hyperparameters(optimizer=optimizer)
    cpu, gpu = FieldCPUKernel.starting_from(start(chosen), chosen), gpu_kernel(chosen, device)
    step(cpu, make_batch(0))
    step(gpu, make_batch(0))
    assert [*cpu.state()] == [*gpu.state()]

    swapped_cpu, swapped_gpu = FieldCPUKernel(chosen, SPACE), gpu_kernel(chosen, device)
    for target, source in ((swapped_cpu, gpu), (swapped_gpu, cpu)):
        for name, array in target.writable_state().items():
            array[...] = source.state()[name]
    for kernel in (swapped_cpu, swapped_gpu, cpu):
        step(kernel, make_batch(1))

    assert_same_model(swapped_cpu, cpu)
    assert_same_model(swapped_gpu, cpu)
    assert swapped_gpu.state()["num_steps"] == 2


@pytest.mark.parametrize("loss", ["bpr", "warp"])
def test_comparisons_train_as_in_the_reference(device, loss, monkeypatch):
    from fm_algo.training.gradient import gpu_fields

    monkeypatch.setattr(gpu_fields, "_MOST_NUMBERS", 1)  # so groups may lie in two pieces
    chosen = hyperparameters(loss=loss, linear_init_sigma=1)
    batches = []
    for seed, num_groups in ((0, 2), (1, 12)):
        batch = make_batch(seed, 3 * num_groups)
        labels = np.array([1, 0, 0] * num_groups, np.float32)
        weights = np.repeat(np.arange(1, num_groups + 1, dtype=np.float32), 3)
        batches.append(replace(batch, labels=labels, weights=weights if seed else None))
    reference, kernel = ReferenceKernel(start(chosen), chosen), gpu_kernel(chosen, device)
    for batch in batches:
        sums = metrics_for(loss)
        sums.update(step(reference, batch), batch.labels, batch.weights)
        assert step(kernel, batch)() == pytest.approx(sums.state(), rel=3e-5, abs=3e-5)
    assert_same_model(kernel, reference)
