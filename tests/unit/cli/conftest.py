"""Models of tables, on disk."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from fm_algo.artifacts.artifact import save_model
from fm_algo.data.tables.arrow.seen import SeenPairs
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.data.tables.tables import Tables
from fm_algo.model import FMModel


class TableModel(NamedTuple):
    """A model of tables, and where it is."""

    path: str
    model: FMModel
    rows: RowEncoder

    def scores(self, *rows):
        """Return the scores of rows of cells."""
        return self.model.score(self.rows.encode(rows).batch)


@pytest.fixture
def of_tables(table_encoder, tmp_path):
    """A model whose largest weight is that of item=i2; u1 has seen i2 and i9."""
    random = np.random.default_rng(2)
    n = table_encoder.feature_dim
    w0, w, V = (random.normal(size=shape).astype(np.float32) for shape in ((1,), (n,), (n, 3)))
    w0[0] = 0.25
    w[table_encoder.block_of["item"].first + 1] = -9
    pairs = SeenPairs("user", "item")
    pairs.add(pa.record_batch({"user": ["u1"] * 3, "item": ["i2", "i9", "i9"]}))
    model = FMModel("regressor", w0, w, V)
    (tmp_path / "model").mkdir()
    save_model(
        tmp_path / "model",
        model,
        {"epochs": 7, "columns": {"a": 1}},
        tables=Tables(table_encoder, pairs.finish(table_encoder)),
    )
    return TableModel(str(tmp_path / "model"), model, RowEncoder(table_encoder))
