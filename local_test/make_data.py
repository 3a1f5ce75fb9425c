"""Make the small data set beside this file: a planted factorization machine, its rows and noise.

    python local_test/make_data.py [FOLDER]

writes test_dir/input/data/{train,test}/data.pbr and payloads/* below FOLDER, the same bytes every
time. A model trained on it can reach a test rmse of NOISE but no less. Each payload holds the same
three rows in another format, so each must get the same three scores.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from fm_algo import write_recordio

FEATURE_DIM = 30
FIELD_WIDTH = 10
NUM_FACTORS = 3
ENTRIES_PER_ROW = 6
NOISE = 0.1
"""Standard deviation of the labels around the planted model."""
ROWS = {"train": 2000, "test": 400}
PAYLOAD_ROWS = 3


def draw_rows(rng: np.random.Generator, num_rows: int) -> scipy.sparse.csr_matrix:
    """Draw rows of ENTRIES_PER_ROW values between 0.5 and 1.5; shape (num_rows, FEATURE_DIM)."""
    order = rng.random((num_rows, FEATURE_DIM)).argsort(axis=1)
    indices = np.sort(order[:, :ENTRIES_PER_ROW], axis=1).astype(np.int32)
    values = (rng.integers(2, 7, indices.shape) / 4).astype(np.float32)  # short as text, and exact
    indptr = np.arange(0, indices.size + 1, ENTRIES_PER_ROW, dtype=np.int32)
    shape = (num_rows, FEATURE_DIM)
    return scipy.sparse.csr_matrix((values.ravel(), indices.ravel(), indptr), shape)


def label_rows(
    rows: scipy.sparse.csr_matrix, w: NDArray[np.float64], V: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Score rows with bias 3, `w` (FEATURE_DIM,) and `V` (FEATURE_DIM, NUM_FACTORS)."""
    pairs = np.triu(V @ V.T, k=1)  # by definition, one product per pair of features
    x = rows.toarray().astype(np.float64)
    return np.asarray(3 + x @ w + np.einsum("ni,ij,nj->n", x, pairs, x))


def write_channels(folder: Path) -> scipy.sparse.csr_matrix:
    """Write the channels; return the rows that the payloads show."""
    rng = np.random.default_rng(2010)
    w = rng.normal(0, 0.3, FEATURE_DIM)
    V = rng.normal(0, 0.4, (FEATURE_DIM, NUM_FACTORS))
    for channel, num_rows in ROWS.items():
        rows = draw_rows(rng, num_rows)
        labels = label_rows(rows, w, V) + rng.normal(0, NOISE, num_rows)
        path = folder / channel / "data.pbr"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Rounded, because machines differ in the last bit of a sum.
        write_recordio(path, rows, np.round(labels, 3).astype(np.float32))
    return rows[:PAYLOAD_ROWS]


def write_payloads(folder: Path, rows: scipy.sparse.csr_matrix) -> None:
    """Write the same rows once in every format that a request may have."""
    folder.mkdir(parents=True, exist_ok=True)
    dense = rows.toarray().tolist()
    sparse = [
        {"keys": row.indices.tolist(), "shape": [FEATURE_DIM], "values": row.data.tolist()}
        for row in rows
    ]
    pairs = [[*zip(row["keys"], row["values"], strict=True)] for row in sparse]
    texts = {
        "dense.json": json.dumps({"instances": [{"features": row} for row in dense]}),
        "sparse.json": json.dumps({"instances": [{"data": {"features": row}} for row in sparse]}),
        "dense.jsonl": "\n".join(json.dumps({"features": row}) for row in dense),
        "sparse.jsonl": "\n".join(json.dumps({"data": {"features": row}}) for row in sparse),
        "dense.csv": "\n".join(",".join(f"{value:g}" for value in row) for row in dense),
        "sparse.libsvm": "\n".join(" ".join(f"{key}:{v:g}" for key, v in row) for row in pairs),
        "sparse.libffm": "\n".join(
            " ".join(f"{key // FIELD_WIDTH}:{key}:{v:g}" for key, v in row) for row in pairs
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n", encoding="utf-8")
    write_recordio(folder / "sparse.pbr", rows, None)


def main() -> None:
    """Write everything below the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    folder = parser.parse_args().folder
    rows = write_channels(folder / "test_dir" / "input" / "data")
    write_payloads(folder / "payloads", rows)


if __name__ == "__main__":
    main()
