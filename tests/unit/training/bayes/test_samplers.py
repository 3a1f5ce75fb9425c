"""Single random numbers: their words and their moments."""

import math

import numpy as np
import pytest
import scipy.stats

from fm_algo.runtime.philox import Stream, philox, stream
from fm_algo.training.bayes.normal import BATCH, fill_normal
from fm_algo.training.bayes.polya_gamma import draw_polya_gamma, draw_row, polya_gamma_mean
from fm_algo.training.bayes.random import FEATURE, ROW, gamma, normal
from fm_algo.training.bayes.reference import normals

COUNT = 20_000


def test_words_are_those_of_the_published_generator():
    # kat_vectors of Random123 1.14, philox4x32 with 10 rounds: counter and key of 0 and of ones.
    ones = 0xFFFFFFFF

    assert philox(0, stream(0, 0, 0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    seed = np.uint64(0xFFFFFFFFFFFFFFFF)
    words = philox.py_func(np.uint64(ones), Stream(seed, *map(np.uint64, (ones, ones, ones))))
    assert words == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)


def test_normal_numbers_are_the_references():
    out = np.zeros((1, 40 * BATCH), np.float32)

    fill_normal(out, out.shape[1], stream(2**50 + 1, 3, FEATURE, 5))

    assert out[0] == pytest.approx(normals(out.shape[1], 2**50 + 1, 3, 5), abs=2e-5)


def test_normal_numbers_are_normal():
    out = np.zeros((1, 1 << 18), np.float32)

    fill_normal(out, out.shape[1], stream(1, 0, FEATURE, 0))

    assert scipy.stats.kstest(out[0], "norm").pvalue > 0.01
    assert abs(np.corrcoef(out[0, :-8], out[0, 8:])[0, 1]) < 0.01
    single = [normal(stream(1, 0, FEATURE, item)) for item in range(COUNT)]
    assert scipy.stats.kstest(single, "norm").pvalue > 0.01


@pytest.mark.parametrize("shape", [0.1, 0.5, 1.0, 3.5, 500.0])
def test_gamma_numbers_are_of_their_distribution(shape):
    drawn = [gamma(shape, 2.0, stream(1, 0, FEATURE, item)) for item in range(COUNT)]

    assert scipy.stats.kstest(drawn, "gamma", (shape, 0, 0.5)).pvalue > 0.01


@pytest.mark.parametrize("z", [0.0, 0.3, -1.0, 2.0, 3.1, 3.2, 6.0, 20.0, 100.0])
def test_polya_gamma_numbers_have_their_moments(z):
    drawn = np.array([draw_polya_gamma(z, stream(4, 0, ROW, item)) for item in range(COUNT)])

    # Polson, Scott, Windle 2013: the Laplace transform is cosh(z/2) / cosh(√(z²/4 + t/2)).
    mean = 0.25 if z == 0 else math.tanh(abs(z) / 2) / (2 * abs(z))
    assert drawn.mean() == pytest.approx(mean, abs=4 * drawn.std() / math.sqrt(COUNT))
    assert polya_gamma_mean(z) == pytest.approx(mean)
    for t in (1.0, 4.0 / mean):
        values = np.exp(-t * drawn)
        root = math.sqrt(z * z / 4 + t / 2)
        expected = (math.exp(-abs(z)) + 1) / (1 + math.exp(-2 * root)) * math.exp(abs(z) / 2 - root)
        assert values.mean() == pytest.approx(expected, abs=4 * values.std() / math.sqrt(COUNT))


@pytest.mark.parametrize("z", [0.0, -2.0, 7.0, 60.0, 500.0])
@pytest.mark.parametrize("weight", [0.05, 0.5, 2.0, 3.7, 8.0, 31.0])
def test_the_numbers_of_weighted_rows_have_their_moments(weight, z):
    drawn = np.array([draw_row(weight, z, 4, 0, item) for item in range(COUNT)])

    # The Laplace transform is that of PG(1, z) to the power of the weight.
    mean = weight * polya_gamma_mean(z)
    assert drawn.mean() == pytest.approx(mean, abs=4 * drawn.std() / math.sqrt(COUNT))
    for t in (1.0, 1 / mean, 4 / mean):
        values = np.exp(-t * drawn)
        root = math.sqrt(z * z / 4 + t / 2)
        once = (math.exp(-abs(z)) + 1) / (1 + math.exp(-2 * root)) * math.exp(abs(z) / 2 - root)
        error = 4 * values.std() / math.sqrt(COUNT)
        assert values.mean() == pytest.approx(once**weight, abs=error)


@pytest.mark.parametrize("z", [0.0, 3.0])
def test_eight_draws_and_one_series_are_alike(z):
    """What is drawn of whole numbers exactly, and of the same by the series."""
    from fm_algo.training.bayes.polya_gamma import _draw_series

    exact = [draw_row(4.0, z, 1, 0, item) for item in range(COUNT)]
    series = [_draw_series(4.0, z, 2, 0, item) for item in range(COUNT)]

    assert scipy.stats.ks_2samp(exact, series).pvalue > 0.01


def test_a_row_of_weight_1_draws_what_it_draws_without_weights():
    for item in range(100):
        assert draw_row(1.0, 0.7, 4, 3, item) == draw_polya_gamma(0.7, stream(4, 3, ROW, item))


def test_rows_of_tiny_weight_draw_numbers_above_0():
    assert min(draw_row(1e-6, 0.7, 4, 3, item) for item in range(1000)) > 0
