"""A chain does what the slow reference does, whatever the threads, and goes on where it stopped."""

import dataclasses

import numpy as np
import pytest

from fm_algo.sparse import CSRBatch
from fm_algo.training.bayes.chain import BIAS_PRECISION, Chain
from fm_algo.training.bayes.reference import ReferenceChain
from fm_algo.training.bayes.units import Units, weight_of_features


def random_rows(seed, predictor_type, *, num_rows=120, feature_dim=40, density=0.5):
    """Rows in which some features are frequent, some rare and one is missing."""
    random = np.random.default_rng(seed)
    present = random.random((num_rows, feature_dim)) < np.linspace(0.02, density, feature_dim)
    X = (present * random.normal(1, 0.5, present.shape)).astype(np.float32)
    X[:, 5] = 0
    rows, indices = np.nonzero(X)
    indptr = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=num_rows), out=indptr[1:])
    labels = random.normal(2, 3, num_rows)
    if predictor_type == "binary_classifier":
        labels = labels > 3
    batch = CSRBatch(
        indptr, indices.astype(np.int32), X[rows, indices], labels.astype(np.float32), feature_dim
    )
    return X.astype(np.float64), batch


@pytest.mark.parametrize("draws", [True, False])
@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize(
    ("num_factors", "use_bias", "use_linear"),
    [(3, True, True), (16, True, True), (11, False, True), (8, True, False)],
)
def test_a_chain_is_the_reference(predictor_type, draws, num_factors, use_bias, use_linear):
    X, rows = random_rows(1, predictor_type)
    groups = (np.arange(rows.feature_dim) % 3).astype(np.int32)
    chain = Chain(
        rows, predictor_type, num_factors, seed=2**40 + 3, num_threads=2, draws=draws,
        groups=groups, use_bias=use_bias, use_linear=use_linear, init_sigma=(0.3, 0.3),
        precisions=(2.0, 3.0),
    )  # fmt: skip
    reference = ReferenceChain(
        X, chain.scale.targets(rows.labels).astype(np.float64), seed=2**40 + 3,
        is_classifier=predictor_type == "binary_classifier", order=chain.columns.features.tolist(),
        groups=groups, V=chain.state()["theta"][:, :num_factors].astype(np.float64),
        bias_precision=BIAS_PRECISION, precisions=(2.0, 3.0), draws=draws,
        use_bias=use_bias, use_linear=use_linear,
    )  # fmt: skip

    for _ in range(5):
        chain.sweep()
        reference.sweep()

    scale = np.sqrt(chain.scale.deviation)
    seen = chain.columns.features
    model = chain.current()
    assert model.V[seen] / scale == pytest.approx(reference.V[seen], abs=5e-4)
    assert model.w[seen] / scale**2 == pytest.approx(reference.w[seen], abs=5e-4)
    w0 = (model.w0 - chain.scale.center) / chain.scale.deviation
    assert w0 == pytest.approx(reference.w0, abs=1e-4)


def many_rows(predictor_type):
    """Rows of three columns, with features frequent enough to be summed in pieces."""
    return columns_of((2, 300, 6000), 30_000, predictor_type)


def columns_of(sizes, num_rows, predictor_type):
    """Rows of columns of so many features, each row with one of each."""
    random = np.random.default_rng(0)
    columns = [random.integers(0, size, num_rows) for size in sizes]
    indices = np.stack(columns, axis=1) + np.cumsum([0, *sizes[:-1]])
    labels = random.normal(0, 1, num_rows) + columns[0]
    if predictor_type == "binary_classifier":
        labels = labels > 0.5
    return CSRBatch(
        np.arange(num_rows + 1, dtype=np.int64) * 3, indices.astype(np.int32).ravel(),
        np.ones(3 * num_rows, np.float32), labels.astype(np.float32), sum(sizes),
    )  # fmt: skip


def run(rows, predictor_type, num_threads, num_sweeps=8):
    chain = Chain(
        rows, predictor_type, 8, seed=1, num_threads=num_threads, num_samples=2,
        num_sweeps_planned=8,
    )  # fmt: skip
    for _ in range(num_sweeps):
        chain.sweep()
    return chain


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_the_number_of_threads_changes_no_bit(predictor_type):
    rows = many_rows(predictor_type)

    one, two = (run(rows, predictor_type, num_threads) for num_threads in (1, 2))

    for name, values in one.state().items():
        assert values.tobytes() == two.state()[name].tobytes(), name
    assert one.model().V.tobytes() == two.model().V.tobytes()


@pytest.mark.parametrize("stop", [1, 3, 6, 7])
@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_a_chain_goes_on_from_its_state_bit_for_bit(predictor_type, stop):
    rows = many_rows(predictor_type).rows(0, 3000)
    whole, first, second = (run(rows, predictor_type, 2, count) for count in (8, stop, 0))

    for name, values in second.state().items():
        values[...] = first.state()[name]
    for _ in range(8 - stop):
        second.sweep()

    for name, values in whole.state().items():
        assert values.tobytes() == second.state()[name].tobytes(), name


def weigh(rows, weights=(0.5, 1, 2, 2.7)):
    drawn = np.random.default_rng(7).choice(weights, rows.num_rows).astype(np.float32)
    return dataclasses.replace(rows, weights=drawn)


@pytest.mark.parametrize("draws", [True, False])
@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("num_factors", [3, 16])
def test_a_chain_on_weighted_rows_is_the_reference(predictor_type, draws, num_factors):
    X, rows = random_rows(1, predictor_type)
    rows = weigh(rows)
    groups = (np.arange(rows.feature_dim) % 3).astype(np.int32)
    chain = Chain(
        rows, predictor_type, num_factors, seed=2**40 + 3, num_threads=2, draws=draws,
        groups=groups, init_sigma=(0.3, 0.3), precisions=(2.0, 3.0),
    )  # fmt: skip
    reference = ReferenceChain(
        X, chain.scale.targets(rows.labels).astype(np.float64), seed=2**40 + 3,
        is_classifier=predictor_type == "binary_classifier", order=chain.columns.features.tolist(),
        groups=groups, V=chain.state()["theta"][:, :num_factors].astype(np.float64),
        bias_precision=BIAS_PRECISION, weights=rows.weights.astype(np.float64),
        precisions=(2.0, 3.0), draws=draws,
    )  # fmt: skip

    for _ in range(5):
        chain.sweep()
        reference.sweep()

    scale, seen, model = np.sqrt(chain.scale.deviation), chain.columns.features, chain.current()
    assert model.V[seen] / scale == pytest.approx(reference.V[seen], abs=5e-4)
    assert model.w[seen] / scale**2 == pytest.approx(reference.w[seen], abs=5e-4)
    assert (model.w0 - chain.scale.center) / chain.scale.deviation == pytest.approx(
        reference.w0, abs=1e-4
    )


@pytest.mark.parametrize(
    ("predictor_type", "draws"),
    [("regressor", True), ("regressor", False), ("binary_classifier", False)],
)
def test_a_row_of_weight_n_counts_as_n_rows(predictor_type, draws):
    """Each step is that on copies. Its random numbers are those of features, not of rows."""
    rows = columns_of((2, 20, 40), 600, predictor_type)
    options = {"seed": 3, "draws": draws}
    weighted = weigh(rows, (1, 2, 3))
    copies = rows.take(np.repeat(np.arange(rows.num_rows), weighted.weights.astype(int)))
    # Features of few rows draw a number for each row.
    assert np.bincount(rows.indices).min() > 2

    chains = [Chain(each, predictor_type, 2, **options) for each in (weighted, copies)]
    for chain in chains:
        for _ in range(8):
            chain.sweep()

    one, other = chains
    assert one.scale.center == pytest.approx(other.scale.center)
    assert one.scale.deviation == pytest.approx(other.scale.deviation)
    assert one.precision == pytest.approx(other.precision, rel=1e-4)
    assert one.model().margin(rows) == pytest.approx(other.model().margin(rows), abs=2e-3)


def test_units_count_a_row_of_weight_n_as_n_rows():
    _, rows = random_rows(2, "regressor")
    weighted = weigh(rows, (1, 2, 3))
    copies = rows.take(np.repeat(np.arange(rows.num_rows), weighted.weights.astype(int)))

    assert Units.of(weighted).sizes == pytest.approx(Units.of(copies).sizes, rel=1e-6)
    assert weight_of_features(weighted).tolist() == weight_of_features(copies).tolist()


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_weights_of_1_change_no_bit(predictor_type):
    rows = many_rows(predictor_type).rows(0, 3000)
    plain, ones = (run(each, predictor_type, 2) for each in (rows, weigh(rows, (1,))))

    for name, values in plain.state().items():
        assert values.tobytes() == ones.state()[name].tobytes(), name
