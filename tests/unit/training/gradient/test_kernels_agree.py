"""Each fast kernel does what the reference kernel does."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_algo.hyperparameters import Hyperparameters, parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.reference import ReferenceKernel
from fm_algo.training.initialization import initial_model

FEATURE_DIM = 60


def random_batch(seed, num_rows, *, density, predictor_type="regressor"):
    random = np.random.default_rng(seed)
    present = random.random((num_rows, FEATURE_DIM)) < density
    rows, indices = np.nonzero(present)
    indptr = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=num_rows), out=indptr[1:])
    values = random.normal(0, 1, len(indices)).astype(np.float32)
    labels = random.normal(0, 1, num_rows).astype(np.float32)
    if predictor_type == "binary_classifier":
        labels = (labels > 0).astype(np.float32)
    return CSRBatch(indptr, indices.astype(np.int32), values, labels, FEATURE_DIM)


def hyperparameters(**changes) -> Hyperparameters:
    # A large eps: with the default one, a gradient that is all but 0 moves its parameter by the
    # learning rate, in the direction of a rounding error, and no two kernels could agree.
    return parse_hyperparameters(
        {
            "feature_dim": FEATURE_DIM,
            "num_factors": 8,
            "predictor_type": "regressor",
            "mini_batch_size": 32,
            "linear_lr": 0.02,
            "factors_lr": 0.02,
            "factors_init_sigma": 0.1,
            "eps": 1e-3,
            **changes,
        }
    )


def step(kernel, batch):
    return kernel.step(kernel.prepare(batch))


def assert_same_training(chosen: Hyperparameters, batches) -> None:
    reference = ReferenceKernel(initial_model(chosen), chosen)
    fast = CPUKernel.starting_from(initial_model(chosen), chosen)
    for batch in batches:
        np.testing.assert_allclose(step(fast, batch), step(reference, batch), rtol=2e-5, atol=2e-5)
    for name in ("w0", "w", "V"):
        got, expected = getattr(fast.model(), name), getattr(reference.model(), name)
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5, err_msg=name)
        assert got.shape == expected.shape
    last = batches[-1]
    np.testing.assert_allclose(fast.margin(last), reference.margin(last), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("density", [0.05, 1.0], ids=["sparse", "dense"])
@pytest.mark.parametrize("num_factors", [1, 7, 8, 16, 24, 64])
def test_cpu_trains_as_the_reference(predictor_type, density, num_factors):
    chosen = hyperparameters(predictor_type=predictor_type, num_factors=num_factors)
    batches = [
        random_batch(seed, 32, density=density, predictor_type=predictor_type) for seed in range(10)
    ]
    assert_same_training(chosen, batches)


@pytest.mark.parametrize("num_factors", [8, 16, 24])
def test_cpu_trains_as_the_reference_without_linear_weights(num_factors):
    chosen = hyperparameters(use_linear=False, num_factors=num_factors)
    batches = [random_batch(seed, 32, density=0.5) for seed in range(5)]
    assert_same_training(chosen, batches)


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_gradient": 0.01},
        {"clip_gradient": 0},
        {"rescale_grad": 1.0},
        {"eps": 1e-2},
        {"bias_wd": 0.5, "linear_wd": 0.5, "factors_wd": 0.5},
        {"bias_lr": 0, "linear_lr": 0, "factors_lr": 0},
        {"use_bias": False},
        {"use_linear": False},
    ],
    ids=str,
)
def test_each_hyperparameter_acts_as_in_the_reference(changes):
    batches = [random_batch(seed, 32, density=0.1) for seed in range(5)]
    assert_same_training(hyperparameters(**changes), batches)


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "rowwise_adagrad", "ftrl", "sgd"])
@pytest.mark.parametrize("num_factors", [5, 16])
def test_each_optimizer_trains_as_in_the_reference(predictor_type, optimizer, num_factors):
    chosen = hyperparameters(
        predictor_type=predictor_type,
        optimizer=optimizer,
        num_factors=num_factors,
        l1=0.001,
        clip_gradient=0.5,
    )
    batches = [
        random_batch(seed, 32, density=0.1, predictor_type=predictor_type) for seed in range(10)
    ]
    assert_same_training(chosen, batches)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 70), st.floats(0, 0.4))
def test_batches_of_any_size_agree_with_empty_rows_and_without_rows(seed, num_rows, density):
    batches = [random_batch(seed, num_rows, density=density), random_batch(seed, 3, density=0.5)]
    assert_same_training(hyperparameters(), batches)


def test_they_agree_with_the_default_eps_wherever_the_gradient_is_not_rounding():
    chosen = hyperparameters(eps="")
    reference = ReferenceKernel(initial_model(chosen), chosen)
    fast = CPUKernel.starting_from(initial_model(chosen), chosen)
    for seed in range(10):
        batch = random_batch(seed, 32, density=0.2)
        step(reference, batch)
        step(fast, batch)
    same = np.isclose(fast.model().V, reference.model().V, rtol=1e-4, atol=1e-5)
    assert np.mean(same) > 0.98


def test_one_and_two_threads_give_the_same_bits():
    trained = []
    for num_threads in (1, 2):
        chosen = hyperparameters(num_threads=num_threads, mini_batch_size=500)
        kernel = CPUKernel.starting_from(initial_model(chosen), chosen)
        for seed in range(5):
            step(kernel, random_batch(seed, 500, density=0.3))
        trained.append(kernel.model())
    one, two = trained
    for name in ("w0", "w", "V"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


def test_features_that_are_not_in_the_batch_stay_as_they_are():
    chosen = hyperparameters(linear_wd=1.0, factors_wd=1.0)
    for kernel in (
        make(initial_model(chosen), chosen) for make in (CPUKernel.starting_from, ReferenceKernel)
    ):
        step(kernel, random_batch(0, 32, density=1.0))  # moments of all features are now set
        before = initial_copy(kernel.model())
        batch = random_batch(1, 32, density=0.02)
        step(kernel, batch)
        absent = np.setdiff1d(np.arange(FEATURE_DIM), batch.indices)
        present = np.unique(batch.indices)
        assert absent.size
        assert present.size
        assert (kernel.model().V[absent] == before.V[absent]).all()
        assert (kernel.model().w[absent] == before.w[absent]).all()
        assert (kernel.model().V[present] != before.V[present]).any(axis=1).all()


def initial_copy(model):
    return type(model)(model.predictor_type, model.w0.copy(), model.w.copy(), model.V.copy())


def test_the_first_step_of_adam_moves_each_parameter_by_its_learning_rate():
    """At step 1 the corrected moments are g and g²: the change is lr · sign(g), whatever g is."""
    chosen = hyperparameters(linear_lr=0.25, linear_wd=0, eps=1e-12, linear_init_sigma=0)
    kernel = ReferenceKernel(initial_model(chosen), chosen)
    batch = random_batch(0, 1, density=0.3)
    step(kernel, batch)
    moved = kernel.model().w[batch.indices]
    np.testing.assert_allclose(np.abs(moved), 0.25, rtol=1e-5)
    residual_sign = np.sign(-batch.labels[0])
    assert (np.sign(moved) == -residual_sign * np.sign(batch.values)).all()


def test_the_gradient_is_that_of_the_loss_by_finite_differences():
    """The reference's own formula, against the loss itself."""
    chosen = hyperparameters(predictor_type="binary_classifier", num_factors=3)
    model = initial_model(chosen)
    batch = random_batch(3, 6, density=0.2, predictor_type="binary_classifier")

    def loss(changed):
        margin = changed.margin(batch).astype(np.float64)
        return np.sum(np.logaddexp(0, margin) - batch.labels * margin)

    # With plain first moments and one step from zero, sign and relative size of the gradient show
    # in the first moment: m = (1 - beta1) * rescale * g.
    kernel = ReferenceKernel(
        model,
        hyperparameters(
            predictor_type="binary_classifier", num_factors=3, rescale_grad=1.0, factors_wd=0
        ),
    )
    step(kernel, batch)
    first_moment, _second = kernel._states["factors"]
    gradient = first_moment / 0.1
    feature, factor, change = int(batch.indices[0]), 1, 1e-2
    up, down = initial_copy(model), initial_copy(model)
    up.V[feature, factor] += change
    down.V[feature, factor] -= change
    expected = (loss(up) - loss(down)) / (2 * change)
    assert gradient[feature, factor] == pytest.approx(expected, rel=1e-2, abs=1e-4)


def weigh(batch, seed=0):
    weights = np.random.default_rng(seed).choice([0.25, 1, 3], batch.num_rows)
    return dataclasses.replace(batch, weights=weights.astype(np.float32))


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "rowwise_adagrad", "ftrl", "sgd"])
def test_weighted_rows_train_as_in_the_reference(predictor_type, optimizer):
    chosen = hyperparameters(predictor_type=predictor_type, optimizer=optimizer)
    batches = [
        weigh(random_batch(seed, 32, density=0.1, predictor_type=predictor_type), seed)
        for seed in range(10)
    ]
    assert_same_training(chosen, batches)


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "rowwise_adagrad", "ftrl", "sgd"])
@pytest.mark.parametrize("make", [CPUKernel.starting_from, ReferenceKernel])
def test_a_row_of_weight_n_trains_as_n_copies_and_of_weight_0_not_at_all(
    predictor_type, optimizer, make
):
    """With the same `rescale_grad` for both: the copies make the mini-batch larger."""
    chosen = hyperparameters(
        predictor_type=predictor_type, optimizer=optimizer, rescale_grad=0.05, mini_batch_size=128
    )
    weighted, copied = (make(initial_model(chosen), chosen) for _ in range(2))
    for seed in range(5):
        batch = random_batch(seed, 32, density=0.1, predictor_type=predictor_type)
        weights = np.random.default_rng(seed).choice([0, 1, 2, 4], 32)
        step(copied, batch.take(np.repeat(np.arange(32), weights)))
        batch = dataclasses.replace(batch, weights=weights.astype(np.float32))
        step(weighted, batch.drop_weightless())
    for name in ("w0", "w", "V"):
        got, expected = getattr(weighted.model(), name), getattr(copied.model(), name)
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5, err_msg=name)


def test_without_rescale_grad_a_row_of_weight_2_has_twice_its_gradient():
    chosen = hyperparameters(
        optimizer="sgd", mini_batch_size=4, bias_wd=0, linear_wd=0, factors_wd=0
    )
    batch, changes = random_batch(0, 1, density=0.5), []
    for weights in (None, np.float32([2])):
        kernel = CPUKernel.starting_from(initial_model(chosen), chosen)
        step(kernel, dataclasses.replace(batch, weights=weights))
        changes.append(kernel.model().w - initial_model(chosen).w)
    np.testing.assert_allclose(changes[1], 2 * changes[0], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "rowwise_adagrad", "ftrl", "sgd"])
def test_weights_of_1_change_no_bit(optimizer):
    chosen, states = hyperparameters(optimizer=optimizer), []
    for weights in (None, np.ones(32, np.float32)):
        kernel = CPUKernel.starting_from(initial_model(chosen), chosen)
        for seed in range(3):
            batch = random_batch(seed, 32, density=0.1)
            step(kernel, dataclasses.replace(batch, weights=weights))
        states.append({name: array.tobytes() for name, array in kernel.state().items()})
    assert states[0] == states[1]
