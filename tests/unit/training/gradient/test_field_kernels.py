"""The CPU kernel with weights of fields does what the reference kernel does."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_algo.errors import AlgorithmError
from fm_algo.hyperparameters import Hyperparameters, parse_hyperparameters
from fm_algo.model import FieldWeights, FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.cpu_fields import FieldCPUKernel
from fm_algo.training.gradient.field_rows import by_field
from fm_algo.training.gradient.reference import ReferenceKernel
from fm_algo.training.initialization import initial_model
from fm_algo.training.rows import Rows
from fm_algo.training.select import make_learner
from fm_algo.training.trainer import train

FEATURE_DIM, NUM_FIELDS = 60, 6


def space(seed=0):
    field_of = np.random.default_rng(seed).integers(0, NUM_FIELDS, FEATURE_DIM)
    return FeatureSpace.of_map([str(f) for f in range(NUM_FIELDS)], field_of.astype(np.int32))


def hyperparameters(**changes) -> Hyperparameters:
    return parse_hyperparameters(
        {
            "feature_dim": FEATURE_DIM,
            "num_factors": 8,
            "predictor_type": "regressor",
            "mini_batch_size": 32,
            "interaction": "field_weighted",
            "linear_lr": 0.02,
            "factors_lr": 0.02,
            "factors_init_sigma": 0.1,
            "eps": 1e-3,
            **changes,
        }
    )


def random_batch(seed, num_rows, *, density=0.2, is_classifier=False, weighted=False):
    random = np.random.default_rng(seed)
    rows, indices = np.nonzero(random.random((num_rows, FEATURE_DIM)) < density)
    order = np.lexsort((random.random(len(rows)), rows))  # features of a row in any order
    labels = random.normal(size=num_rows).astype(np.float32)
    return CSRBatch(
        np.append(0, np.cumsum(np.bincount(rows, minlength=num_rows))),
        indices[order].astype(np.int32),
        random.normal(size=len(rows)).astype(np.float32),
        (labels > 0).astype(np.float32) if is_classifier else labels,
        FEATURE_DIM,
        random.integers(1, 4, num_rows).astype(np.float32) if weighted else None,
    )


def start(chosen, of=None):
    """An initial model whose weights of fields are not all alike."""
    model = initial_model(chosen, of or space())
    R = np.random.default_rng(1).normal(1, 0.5, model.field_weights.R.shape)
    model.field_weights.R[:] = R + R.T
    return model


def assert_same_training(chosen, batches, of=None):
    model = start(chosen, of)
    reference = ReferenceKernel(model, chosen)
    fast = FieldCPUKernel.starting_from(model, chosen)
    for batch in batches:
        got = fast.step(fast.prepare(batch))
        expected = reference.step(reference.prepare(batch))
        np.testing.assert_allclose(got, expected, rtol=3e-5, atol=3e-5)
    for name in ("w0", "w", "V"):
        got, expected = getattr(fast.model(), name), getattr(reference.model(), name)
        np.testing.assert_allclose(got, expected, rtol=3e-5, atol=3e-5, err_msg=name)
    got, expected = fast.model().field_weights.R, reference.model().field_weights.R
    np.testing.assert_allclose(got, expected, rtol=3e-5, atol=3e-5)
    np.testing.assert_array_equal(got, got.T)
    assert np.abs(got - model.field_weights.R).max() > 1e-3  # they were learnt
    last = batches[-1]
    np.testing.assert_allclose(fast.margin(last), reference.margin(last), rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "rowwise_adagrad", "ftrl", "sgd"])
@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("num_factors", [5, 16, 24])
def test_each_optimizer_trains_as_in_the_reference(optimizer, predictor_type, num_factors):
    chosen = hyperparameters(
        optimizer=optimizer,
        predictor_type=predictor_type,
        num_factors=num_factors,
        l1=0.001,
        clip_gradient=0.5,
        field_weights_wd=0.1,
    )
    is_classifier = predictor_type == "binary_classifier"
    assert_same_training(
        chosen, [random_batch(seed, 32, is_classifier=is_classifier) for seed in range(8)]
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"use_linear": False},
        {"use_bias": False},
        {"field_weights_lr": 0.3},
        {"num_factors": 64},
        {"num_factors": 1},
    ],
    ids=str,
)
def test_each_hyperparameter_acts_as_in_the_reference(changes):
    assert_same_training(hyperparameters(**changes), [random_batch(s, 32) for s in range(4)])


def test_rows_may_have_weights():
    batches = [random_batch(seed, 32, weighted=True) for seed in range(4)]
    assert_same_training(hyperparameters(), batches)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 150), st.floats(0, 0.6))
def test_batches_of_any_size_agree(seed, num_rows, density):
    batches = [random_batch(seed, num_rows, density=density), random_batch(seed, 9)]
    assert_same_training(hyperparameters(), batches, space(seed))


def test_rows_may_have_few_of_many_fields():
    """Some pieces of rows have all fields, others have few."""
    of = FeatureSpace.of_columns([str(f) for f in range(30)], np.arange(30) * 2, FEATURE_DIM)
    parts = [random_batch(seed, 64, density=density) for seed, density in enumerate((0.03, 0.6))]
    assert_same_training(hyperparameters(), [CSRBatch.join([*parts, *parts])], of)


def test_one_and_two_threads_give_the_same_bits():
    trained = []
    for num_threads in (1, 2):
        chosen = hyperparameters(num_threads=num_threads, mini_batch_size=3000)
        kernel = FieldCPUKernel.starting_from(start(chosen), chosen)
        for seed in range(3):
            kernel.step(kernel.prepare(random_batch(seed, 3000)))
        trained.append(kernel.model())
    one, two = trained
    assert one.V.tobytes() == two.V.tobytes()
    assert one.field_weights.R.tobytes() == two.field_weights.R.tobytes()


def test_with_weights_of_1_that_do_not_move_it_is_an_ordinary_kernel():
    chosen = hyperparameters(field_weights_lr=0)
    of_all = hyperparameters(interaction="all")
    fields = FieldCPUKernel.starting_from(initial_model(chosen, space()), chosen)
    ordinary = CPUKernel.starting_from(initial_model(of_all), of_all)
    for seed in range(5):
        for kernel in (fields, ordinary):
            kernel.step(kernel.prepare(random_batch(seed, 32)))
    np.testing.assert_allclose(fields.model().V, ordinary.model().V, rtol=1e-4, atol=1e-5)


def test_a_field_of_one_entry_per_row_says_nothing_of_pairs_within():
    """So that an export may put there what it likes."""
    of = FeatureSpace.of_columns(("a", "b"), np.array([0, 30]), FEATURE_DIM)
    random = np.random.default_rng(0)
    indices = np.stack([random.integers(0, 30, 50), random.integers(30, 60, 50)], 1)
    batch = CSRBatch(
        np.arange(0, 101, 2), indices.reshape(-1).astype(np.int32),
        random.normal(size=100).astype(np.float32), random.normal(size=50).astype(np.float32),
        FEATURE_DIM,
    )  # fmt: skip
    chosen = hyperparameters(eps="", field_weights_wd=0.1)
    for kernel in (
        FieldCPUKernel.starting_from(initial_model(chosen, of), chosen),
        ReferenceKernel(initial_model(chosen, of), chosen),
    ):
        kernel.step(kernel.prepare(batch))
        R = kernel.model().field_weights.R
        assert R.diagonal().tolist() == [1, 1]
        assert R[0, 1] != 1


def test_the_gradient_is_the_slope_of_the_loss():
    chosen = hyperparameters(
        optimizer="sgd", rescale_grad=1.0, bias_lr=1, linear_lr=1, factors_lr=1,
        bias_wd=0, linear_wd=0, factors_wd=0,
    )  # fmt: skip
    model, batch = start(chosen), random_batch(3, 5)
    kernel = ReferenceKernel(model, chosen)
    kernel.step(kernel.prepare(batch))

    def loss(changed: FMModel) -> float:
        return 0.5 * float(((changed.margin(batch) - batch.labels).astype(np.float64) ** 2).sum())

    def slope(change) -> float:
        ends = []
        for size in (1e-2, -1e-2):
            moved = model.copy()
            change(moved, size)
            ends.append(loss(moved))
        return (ends[0] - ends[1]) / 2e-2

    feature = int(batch.indices[0])

    def move_v(moved, size):
        moved.V[feature, 2] += size

    def move_r(moved, size):
        moved.field_weights.R[1, 4] += size
        moved.field_weights.R[4, 1] += size

    after = kernel.model()
    assert model.V[feature, 2] - after.V[feature, 2] == pytest.approx(slope(move_v), rel=2e-2)
    moved = model.field_weights.R[1, 4] - after.field_weights.R[1, 4]
    assert moved == pytest.approx(slope(move_r), rel=2e-2)


def test_the_state_of_one_kernel_continues_in_another():
    chosen = hyperparameters()
    first = FieldCPUKernel.starting_from(start(chosen), chosen)
    first.step(first.prepare(random_batch(0, 32)))
    second = FieldCPUKernel(chosen, space())
    for name, array in second.writable_state().items():
        array[...] = first.state()[name]
    for kernel in (first, second):
        kernel.step(kernel.prepare(random_batch(1, 32)))
    assert first.model().field_weights.R.tobytes() == second.model().field_weights.R.tobytes()
    assert first.model().V.tobytes() == second.model().V.tobytes()


def test_weights_that_went_astray_are_told_though_no_loss_shows_them():
    chosen = hyperparameters(
        optimizer="sgd", field_weights_lr=3e38, factors_lr=0, linear_lr=0, mini_batch_size=100
    )
    learner = make_learner(chosen, FieldCPUKernel.starting_from(start(chosen), chosen), space())
    batch = random_batch(1, 100)
    learner.take_rows(Rows.in_memory(dataclasses.replace(batch, labels=1e6 * batch.labels)))

    with pytest.raises(AlgorithmError, match="epoch 0: R holds numbers that are not finite"):
        list(train(learner, chosen))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_entries_are_put_in_the_order_of_their_fields(seed):
    batch, field_map = random_batch(seed, 20, density=0.3), space(seed).field_map()
    rows = by_field(batch, space(seed))

    place = 0
    for r in range(batch.num_rows):
        row = batch.rows(r, r + 1)
        order = np.argsort(field_map[row.indices], kind="stable")
        entries = slice(int(batch.indptr[r]), int(batch.indptr[r + 1]))
        assert rows.batch.indices[entries].tolist() == row.indices[order].tolist()
        assert rows.batch.values[entries].tolist() == row.values[order].tolist()
        fields, counts = np.unique(field_map[row.indices], return_counts=True)
        assert rows.row_starts[r] == place
        stop = place + len(fields)
        assert rows.fields[place:stop].tolist() == fields.tolist()
        assert np.diff(rows.starts[place : stop + 1]).tolist() == counts.tolist()
        place = stop
    assert rows.num_places == place
    assert FieldWeights.of_ones(space(seed)).R.shape == (NUM_FIELDS, NUM_FIELDS)
