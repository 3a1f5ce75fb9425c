import pyarrow as pa
import pytest

from fm_algo.data.tables.arrow.columns import CellError
from fm_algo.data.tables.arrow.encoding import ArrowEncoder
from fm_algo.data.tables.arrow.fitting import fit_encoder
from fm_algo.data.tables.arrow.reading import read_frame
from fm_algo.data.tables.columns import parse_columns

COLUMNS = parse_columns({"rating": "label", "times": "weight", "price": "number"})


def encode(*, labelled=True, **cells):
    table = pa.table({"rating": [1, 2, 3], "times": [1, 2, 0.5], "price": [1, 5, 9]} | cells)
    encoder = ArrowEncoder(fit_encoder(COLUMNS, read_frame(table)))
    (batch,) = table.to_batches()
    return encoder.encode(batch, labelled=labelled)


def test_rows_with_labels_have_the_weights_of_their_column():
    rows = encode()

    assert rows.labels.tolist() == [1, 2, 3]
    assert rows.weights.tolist() == [1, 2, 0.5]
    assert rows.weights.dtype == "float32"


def test_rows_without_labels_have_no_weights_either():
    rows = encode(labelled=False)

    assert (rows.labels, rows.weights) == (None, None)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1, None, 2], "column times: a weight is missing"),
        ([1, -0.5, 2], "column times: the weight -0.5 is below 0"),
        (["1", "often", "2"], "column times: often is not a number; empty means missing"),
    ],
)
def test_a_weight_that_is_none_is_told_with_its_row(times, message):
    with pytest.raises(CellError) as error:
        encode(times=times)

    assert (error.value.message, error.value.row) == (message, 1)
