"""A row has one margin, whether it is scored alone or among others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_algo.model import FMModel
from fm_algo.model import fm_model as model_module
from fm_algo.sparse import CSRBatch

FEATURE_DIM = 9


def model_of(rng, num_factors, samples=(), predictor_type="regressor"):
    shapes = (1, FEATURE_DIM, (FEATURE_DIM, num_factors))
    parameters = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return FMModel(predictor_type, *parameters, samples)


def rows_of(rng, lengths):
    return CSRBatch(
        np.cumsum([0, *lengths], dtype=np.int64),
        np.concatenate([np.empty(0), *(rng.permutation(FEATURE_DIM)[:n] for n in lengths)]).astype(
            np.int32
        ),
        rng.normal(size=sum(lengths)).astype(np.float32),
        None,
        FEATURE_DIM,
    )


@given(st.integers(0, 10_000), st.integers(1, 5), st.lists(st.integers(0, 6), max_size=5))
def test_a_row_is_scored_alone_as_among_others(seed, num_factors, lengths):
    rng = np.random.default_rng(seed)
    model, rows = model_of(rng, num_factors), rows_of(rng, lengths)

    alone = [model.margin(rows.rows(row, row + 1))[0] for row in range(rows.num_rows)]

    np.testing.assert_allclose(alone, model.margin(rows), rtol=1e-6, atol=1e-6)


@given(
    st.integers(0, 10_000),
    st.integers(1, 6),
    st.lists(st.integers(0, 6), max_size=5),
    st.sampled_from(["regressor", "binary_classifier"]),
    st.sampled_from([1, 9, 1 << 17]),
)
def test_a_score_is_the_mean_of_the_samples_wherever_blocks_end(
    seed, num_samples, lengths, predictor_type, numbers_at_once
):
    rng = np.random.default_rng(seed)
    samples = tuple(model_of(rng, 3, (), predictor_type) for _ in range(num_samples))
    model, rows = model_of(rng, 2, samples, predictor_type), rows_of(rng, lengths)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_module, "_GATHERED_NUMBERS", numbers_at_once)
        score = model.score(rows)
        alone = [model.score(rows.rows(row, row + 1))[0] for row in range(rows.num_rows)]

    of_samples = [sample.score(rows).astype(np.float64) for sample in samples]
    np.testing.assert_allclose(score, np.mean(of_samples, axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(alone, score, rtol=1e-6, atol=1e-6)
