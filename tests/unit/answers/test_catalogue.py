import numpy as np

from fm_algo.answers.vectors import item_vectors
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch


def test_an_item_adds_to_a_margin_what_its_features_add():
    random = np.random.default_rng(3)
    w0, w, V = (random.normal(size=shape).astype(np.float32) for shape in ((1,), (9,), (9, 4)))
    model = FMModel("regressor", w0, w, V)
    items = CSRBatch.of(np.array([[1, 0, 0.5], [0, 0, 0], [-2, 3, 0]]), feature_dim=3)

    vectors, weights = item_vectors(model, items.indptr, items.indices, items.values)

    rest = np.array([0, 0, 0, 2, 0, 1, 0, -1, 0.5])
    for vector, weight, features in zip(
        vectors, weights, [[1, 0, 0.5], [0, 0, 0], [-2, 3, 0]], strict=True
    ):
        whole = rest.copy()
        whole[:3] = features
        margins = model.margin(CSRBatch.of(np.array([rest, whole])))
        np.testing.assert_allclose(
            margins[1] - margins[0], weight + vector @ (rest @ V), rtol=1e-5, atol=1e-5
        )
    assert vectors.dtype == weights.dtype == np.float32
