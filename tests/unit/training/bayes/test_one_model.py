"""What a chain has come to: one model, its width, and what it takes."""

import tracemalloc

import numpy as np
import pytest

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.bayes import posterior
from fm_algo.training.bayes.chain import Chain
from fm_algo.training.bayes.memory import Counts, planned_bytes
from fm_algo.training.bayes.sketch import Sketch


def planted_rows(num_rows=6000, feature_dim=220):
    """Rows of two columns, 100 and 100 features, and 20 features that stand nowhere."""
    random = np.random.default_rng(0)
    columns = random.integers(0, 100, (num_rows, 2)) + np.array([0, 100])
    rows = CSRBatch(
        np.arange(num_rows + 1, dtype=np.int64) * 2, columns.astype(np.int32).ravel(),
        np.ones(2 * num_rows, np.float32), None, feature_dim,
    )  # fmt: skip
    model = FMModel(
        "regressor", np.array([3], np.float32),
        random.normal(0, 1, feature_dim).astype(np.float32),
        random.normal(0, 1, (feature_dim, 2)).astype(np.float32),
    )  # fmt: skip
    labels = model.margin(rows) + random.normal(0, 0.5, num_rows).astype(np.float32)
    return CSRBatch(rows.indptr, rows.indices, rows.values, labels, feature_dim), model


def swept(num_sweeps=30, **options):
    rows, _ = planted_rows()
    chain = Chain(rows, "regressor", 3, seed=0, num_sweeps_planned=num_sweeps, **options)
    for _ in range(num_sweeps):
        chain.sweep()
    return chain, rows


def test_the_mean_of_samples_is_one_wide_model(monkeypatch):
    monkeypatch.setattr(posterior, "SKETCHED", 1)
    chain, rows = swept(30, num_samples=25, num_saved=24)

    margins = [sample.margin(rows) for sample in chain.samples()]

    assert len(margins) == 25
    assert chain.mean_model().margin(rows) == pytest.approx(np.mean(margins, axis=0), abs=2e-3)
    assert chain.margin(rows) == pytest.approx(chain.mean_model().margin(rows), abs=1e-5)
    assert chain.scale.deviation * chain.posterior.margin + chain.scale.center == pytest.approx(
        np.mean(margins, axis=0), abs=1e-3
    )


@pytest.mark.parametrize("num_factors", [3, 8])
def test_a_narrow_model_is_close_to_the_mean(num_factors):
    chain, rows = swept()

    model = chain.model(num_factors)

    assert model.V.shape == (220, num_factors)
    difference = model.margin(rows) - chain.mean_model().margin(rows)
    assert np.sqrt(np.mean(difference**2)) < 0.1
    _, planted = planted_rows()
    assert np.sqrt(np.mean((model.margin(rows) - planted.margin(rows)) ** 2)) < 0.2


def test_features_without_rows_are_their_groups_mean():
    chain, _ = swept()

    model = chain.model()

    assert np.ptp(model.w[200:]) < 1e-5
    assert np.abs(model.w[200:].mean() - model.w[100:200].mean()) < 0.5


def test_before_the_first_sample_the_model_is_the_last_one():
    chain, rows = swept(2)

    assert chain.model().margin(rows) == pytest.approx(chain.current().margin(rows))


def test_a_chain_starts_from_a_model():
    rows, planted = planted_rows()

    chain = Chain(rows, "regressor", 2, seed=0, start=planted)

    assert chain.current().margin(rows) == pytest.approx(planted.margin(rows), abs=1e-4)


def test_least_squares_finds_the_planted_model():
    rows, planted = planted_rows()
    chain = Chain(rows, "regressor", 2, seed=0, draws=False, precisions=(1.0, 1.0))
    for _ in range(30):
        chain.sweep()

    error = chain.model().margin(rows) - planted.margin(rows)
    assert np.sqrt(np.mean(error**2)) < 0.2


def test_a_sketch_keeps_what_has_room():
    random = np.random.default_rng(0)
    samples = random.normal(0, 1, (9, 40, 2)).astype(np.float32)
    weight = np.ones(40, np.float32)
    sketch = Sketch(weight, 32, 8)
    for V in samples:
        sketch.add(V)

    mean = sum(V @ V.T for V in samples) / 9
    assert sketch.mean() @ sketch.mean().T == pytest.approx(mean, abs=1e-4)
    assert sketch.truncated(20) @ sketch.truncated(20).T == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize(("num_factors", "num_samples"), [(16, 0), (8, 50)])
def test_the_memory_is_what_was_planned(num_factors, num_samples):
    rows, _ = planted_rows(60_000)
    options = {"seed": 0, "num_samples": num_samples}
    Chain(rows, "regressor", num_factors, **options).sweep()  # so that compiling is not counted

    tracemalloc.start()
    chain = Chain(rows, "regressor", num_factors, **options)
    for _ in range(6):
        chain.sweep()
    chain.model()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    planned = planned_bytes(
        Counts.of([rows], rows.feature_dim),
        num_factors,
        is_classifier=False,
        num_samples=num_samples,
    )
    assert peak == pytest.approx(planned, rel=0.15)
