import numpy as np
import pyarrow as pa
import pytest

from fm_algo.data.tables.arrow.encoding import ArrowEncoder
from fm_algo.data.tables.hashing import hash_text


@pytest.mark.parametrize(
    "cells",
    [
        pa.array(["u1", None, "", "u2"]),
        pa.array(["u1", None, "", "u2"]).dictionary_encode(),
        pa.array([None, None, None, None], pa.string()).dictionary_encode(),
        pa.array([7.0, None, None, 1.5]),
        pa.array([7, None, None, 8]),
    ],
    ids=lambda cells: str(cells.type),
)
def test_a_missing_word_has_the_hash_of_none(table_encoder, cells):
    found = ArrowEncoder(table_encoder).hash_words(pa.record_batch({"user": cells}), "user")

    texts = [
        "" if cell is None else str(int(cell) if cell in (7.0, 8) else cell)
        for cell in cells.to_pylist()
    ]
    assert found.tolist() == [hash_text(text.encode()) for text in texts]
    assert found.dtype == np.uint64
