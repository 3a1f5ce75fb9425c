"""A row has one margin, whether it is scored alone or among others."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

FEATURE_DIM = 9


@given(st.integers(0, 10_000), st.integers(1, 5), st.lists(st.integers(0, 6), max_size=5))
def test_a_row_is_scored_alone_as_among_others(seed, num_factors, lengths):
    rng = np.random.default_rng(seed)
    model = FMModel(
        "regressor",
        *(
            rng.normal(size=shape).astype(np.float32)
            for shape in (1, FEATURE_DIM, (FEATURE_DIM, num_factors))
        ),
    )
    rows = CSRBatch(
        np.cumsum([0, *lengths], dtype=np.int64),
        np.concatenate([np.empty(0), *(rng.permutation(FEATURE_DIM)[:n] for n in lengths)]).astype(
            np.int32
        ),
        rng.normal(size=sum(lengths)).astype(np.float32),
        None,
        FEATURE_DIM,
    )

    alone = [model.margin(rows.rows(row, row + 1))[0] for row in range(rows.num_rows)]

    np.testing.assert_allclose(alone, model.margin(rows), rtol=1e-6, atol=1e-6)
