"""Encode rows as RecordIO-protobuf, byte for byte as SageMaker's Python SDK writes float32 data.

Tensors are always Float32, the only kind the built-in algorithm is documented to take.
"""

from collections.abc import Iterator

from fm_algo.data.formats import record_pb2
from fm_algo.data.formats.recordio import frame_record
from fm_algo.sparse import CSRBatch, Float32Array


def encode_sparse_rows(batch: CSRBatch) -> Iterator[bytes]:
    """Yield one framed record per row: values, keys as stored, shape, and any label.

    Parameters
    ----------
    batch : CSRBatch
        The rows.
    """
    bounds = batch.indptr.tolist()
    for row in range(batch.num_rows):
        record = record_pb2.Record()
        tensor = record.features["values"].float32_tensor
        entries = slice(bounds[row], bounds[row + 1])
        tensor.values.extend(batch.values[entries].tolist())
        tensor.keys.extend(batch.indices[entries].tolist())
        tensor.shape.append(batch.feature_dim)
        yield _frame(record, batch.labels, row)


def encode_dense_rows(values: Float32Array, labels: Float32Array | None) -> Iterator[bytes]:
    """Yield one framed record per row: only values, and any label.

    Parameters
    ----------
    values : float32, shape (num_rows, feature_dim)
        The rows, including zeros.
    labels : float32, shape (num_rows,), or None
        Their labels.
    """
    for row in range(len(values)):
        record = record_pb2.Record()
        tensor = record.features["values"].float32_tensor
        tensor.SetInParent()  # a row without values still is a tensor
        tensor.values.extend(values[row].tolist())
        yield _frame(record, labels, row)


def _frame(record: record_pb2.Record, labels: Float32Array | None, row: int) -> bytes:
    if labels is not None:
        record.label["values"].float32_tensor.values.append(float(labels[row]))
    return frame_record(record.SerializeToString())
