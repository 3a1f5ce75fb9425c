"""A chain draws from the right posterior, and its intervals are honest.

Parameters drawn from the prior, and labels from the parameters, are one draw of all together.
Sweeps on those labels from those parameters leave it one: however many, what they end with must be
distributed as the prior says. Geweke, "Getting it right: joint distribution tests of posterior
simulators", JASA 2004, with independent runs in place of one long one.
"""

import dataclasses

import numpy as np
import pytest
import scipy.special
import scipy.stats

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.bayes import chain as chain_module
from fm_algo.training.bayes.chain import BIAS_PRECISION, Chain
from fm_algo.training.bayes.scale import Scale

NUM_FACTORS, COLUMN_SIZES, NUM_ROWS = 3, (6, 8), 24
FEATURE_DIM = sum(COLUMN_SIZES)
GROUPS = np.repeat([0, 1], COLUMN_SIZES).astype(np.int32)
NUM_RUNS, NUM_SWEEPS = 300, 20


def rows_of(columns, labels):
    """Rows of one feature per column, each of value 1; columns (num_rows, num_columns)."""
    num_rows, num_columns = columns.shape
    return CSRBatch(
        np.arange(num_rows + 1, dtype=np.int64) * num_columns,
        columns.astype(np.int32).ravel(),
        np.ones(columns.size, np.float32),
        None if labels is None else labels.astype(np.float32),
        int(GROUPS.size) if num_columns == 2 else 300,
    )


def drawn_from_prior(random, predictor_type):
    """Draw a model, and labels of some rows from it."""
    precision = random.gamma(0.5, 2, (2, NUM_FACTORS + 1))
    mean = random.normal(0, 1 / np.sqrt(precision))
    theta = random.normal(mean[GROUPS], 1 / np.sqrt(precision[GROUPS])).astype(np.float32)
    w0 = random.normal(0, BIAS_PRECISION**-0.5, 1).astype(np.float32)
    model = FMModel(predictor_type, w0, theta[:, NUM_FACTORS].copy(), theta[:, :NUM_FACTORS].copy())
    columns = np.stack(
        [
            np.minimum(random.geometric(0.3, NUM_ROWS) - 1, COLUMN_SIZES[0] - 1),
            COLUMN_SIZES[0] + random.integers(0, COLUMN_SIZES[1], NUM_ROWS),
        ],
        axis=1,
    )
    margin = model.margin(rows_of(columns, None)).astype(np.float64)
    if predictor_type == "binary_classifier":
        labels = random.random(NUM_ROWS) < scipy.special.expit(margin)
    else:
        labels = random.normal(margin, random.gamma(0.5, 2) ** -0.5)
    return model, rows_of(columns, labels)


def least_probability(predictor_type, monkeypatch):
    """Least p-value of the parameters after some sweeps being distributed as at first."""
    monkeypatch.setattr(Scale, "of", classmethod(lambda cls, *_, **__: cls(0.0, 1.0)))
    found = []
    for run in range(NUM_RUNS):
        model, rows = drawn_from_prior(np.random.default_rng([7, run]), predictor_type)
        chain = Chain(
            rows, predictor_type, NUM_FACTORS, seed=run, num_threads=1, groups=GROUPS, start=model
        )
        for _ in range(NUM_SWEEPS):
            chain.sweep()
        precision = chain._priors.precision[:, [*range(NUM_FACTORS), chain._width]]
        places = scipy.stats.gamma.cdf(precision, 0.5, scale=2).ravel().tolist()
        if predictor_type == "regressor":
            places.append(scipy.stats.gamma.cdf(chain.precision, 0.5, scale=2))
        places.append(scipy.stats.norm.cdf(float(chain.current().w0[0]) * BIAS_PRECISION**0.5))
        found.append(places)
    return min(scipy.stats.kstest(numbers, "uniform").pvalue for numbers in np.array(found).T)


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_sweeps_leave_the_joint_distribution_as_it_is(predictor_type, monkeypatch):
    assert least_probability(predictor_type, monkeypatch) > 1e-3


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_a_wrong_precision_would_be_found(predictor_type, monkeypatch):
    draw_priors = chain_module.draw_priors

    def draw_wrong_priors(sums, counts, step, priors):
        draw_priors(sums, counts, step, priors)
        priors.precision[:] *= 1.2
        priors.root_precision[:] *= 1.2**0.5
        priors.deviation[:] /= 1.2**0.5

    monkeypatch.setattr(chain_module, "draw_priors", draw_wrong_priors)

    assert least_probability(predictor_type, monkeypatch) < 1e-8


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_nine_in_ten_intervals_hold_the_margin(predictor_type):
    random = np.random.default_rng(3)
    planted = FMModel(
        predictor_type,
        np.array([0.5], np.float32),
        random.normal(0, 0.5, 300).astype(np.float32),
        random.normal(0, 0.6, (300, 4)).astype(np.float32),
    )
    columns = random.integers(0, 100, (14_000, 3)) + np.array([0, 100, 200])
    train, test = columns[:10_000], rows_of(columns[10_000:], None)
    margin = planted.margin(rows_of(train, None))
    if predictor_type == "regressor":
        labels = margin + random.normal(0, 1, len(margin))
    else:
        labels = random.random(len(margin)) < planted.link(margin)
    chain = Chain(
        rows_of(train, labels), predictor_type, 4, seed=0, num_samples=200, num_sweeps_planned=400
    )
    for _ in range(400):
        chain.sweep()

    samples = [sample.margin(test) for sample in chain.samples()[20:]]
    low, high = np.quantile(samples, [0.05, 0.95], axis=0)
    margin = planted.margin(test)
    assert 0.87 < ((low <= margin) & (margin <= high)).mean() < 0.93


def mean_margins(rows):
    """Posterior mean of each row's margin, over two chains."""
    chains = [
        Chain(rows, "binary_classifier", 2, seed=seed, groups=GROUPS, num_threads=1)
        for seed in (1, 2)
    ]
    for chain in chains:
        for _ in range(1000):
            chain.sweep()
    return np.mean([chain.mean_margin() for chain in chains], axis=0)


def test_the_posterior_of_classes_counts_a_row_of_weight_w_as_w_rows():
    random = np.random.default_rng(0)
    columns = np.stack([random.integers(0, 6, 150), random.integers(6, 14, 150)], axis=1)
    labels = random.random(150) < scipy.special.expit(0.4 * columns[:, 0] - 1)
    weights = random.choice([1, 2, 3], 150)
    rows = rows_of(columns, labels)
    copied = mean_margins(rows.take(np.repeat(np.arange(150), weights)))
    copied = copied[np.cumsum(weights) - 1]

    whole = mean_margins(dataclasses.replace(rows, weights=weights.astype(np.float32)))
    # Each row twice, with half of its weight.
    halves = np.repeat(weights / 2, 2).astype(np.float32)
    twice = rows.take(np.repeat(np.arange(150), 2))
    in_halves = mean_margins(dataclasses.replace(twice, weights=halves))[::2]

    for found in (whole, in_halves):
        assert np.abs(found - copied).mean() < 0.05
    assert np.abs(mean_margins(rows) - copied).mean() > 0.1
