"""What users bring becomes a batch that holds what it should, or is refused in one line."""

import numpy as np
import pytest
import scipy.sparse

from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

DENSE = np.float32([[0, 1.5, 0], [0, 0, 0], [2, 0, -3]])
LABELS = [1, 0, 7]


def batch(indptr, indices, values, labels=None, feature_dim=3):
    return CSRBatch(np.array(indptr), np.array(indices), np.array(values), labels, feature_dim)


def damaged(kind, **arrays):
    """A matrix of scipy whose arrays were changed after it was checked."""
    matrix = getattr(scipy.sparse, kind)(DENSE)
    for name, numbers in arrays.items():
        setattr(matrix, name, np.array(numbers))
    return matrix


def told(*arguments, **options):
    with pytest.raises(UserError) as caught:
        CSRBatch.of(*arguments, **options)
    assert "\n" not in caught.value.message
    return caught.value.message


def assert_is_dense(made):
    arrays = (made.indptr, made.indices, made.values)
    assert [array.dtype.name for array in arrays] == ["int64", "int32", "float32"]
    assert all(array.flags.c_contiguous for array in arrays)
    assert made.indptr.tolist() == [0, 1, 1, 3]
    assert made.indices.tolist() == [1, 0, 2]
    assert made.values.tolist() == [1.5, 2, -3]
    assert made.feature_dim == 3


@pytest.mark.parametrize(
    "kind",
    ["csr_array", "csc_array", "coo_array", "lil_array", "csr_matrix", "csc_matrix", "coo_matrix"],
)
def test_every_sparse_matrix_is_taken(kind):
    made = CSRBatch.of(getattr(scipy.sparse, kind)(DENSE), LABELS)

    assert_is_dense(made)
    assert made.labels.tolist() == LABELS
    assert made.labels.dtype == np.float32


@pytest.mark.parametrize(
    "rows",
    [
        DENSE,
        DENSE.tolist(),
        np.asfortranarray(DENSE),
        DENSE.astype(np.float64),
        DENSE.astype(">f8"),
        DENSE[::-1][::-1],
        scipy.sparse.csr_array(DENSE.astype(np.float64)),
        batch(np.int32([0, 1, 1, 3]), np.int64([1, 0, 2]), [1.5, 2, -3]),
        batch([0, 1, 1, 3], [1, 0, 2, 99], [1.5, 2, -3, np.nan]),  # with room for more
    ],
    ids=["array", "lists", "fortran", "float64", "big endian", "views", "csr", "batch", "room"],
)
def test_numbers_of_every_type_are_taken(rows):
    assert_is_dense(CSRBatch.of(rows))
    assert CSRBatch.of(rows).labels is None


def test_explicit_zeros_and_the_order_of_a_row_are_kept():
    rows = scipy.sparse.csr_array((np.float32([0, 2]), [2, 1], [0, 2]), shape=(1, 3))

    made = CSRBatch.of(rows)

    assert (made.indices.tolist(), made.values.tolist()) == ([2, 1], [0, 2])


def test_what_has_the_right_type_is_not_copied():
    values, labels = np.float32([1, 2]), np.float32([1])
    rows = scipy.sparse.csr_array((values, np.int32([0, 2]), np.int32([0, 2])), shape=(1, 3))

    made = CSRBatch.of(rows, labels)

    assert np.shares_memory(made.values, values)
    assert np.shares_memory(made.indices, rows.indices)
    assert np.shares_memory(made.labels, labels)


@pytest.mark.parametrize(
    "rows",
    [
        scipy.sparse.csr_array((np.float32([1, 2, 4]), [2, 0, 2], [0, 3]), shape=(1, 3)),
        scipy.sparse.coo_array((np.float32([1, 2, 4]), ([0, 0, 0], [2, 0, 2])), shape=(1, 3)),
        batch([0, 3], [2, 0, 2], [1, 2, 4]),
    ],
)
def test_values_of_a_feature_that_stands_twice_are_added_up(rows):
    made = CSRBatch.of(rows)

    assert dict(zip(made.indices.tolist(), made.values.tolist(), strict=True)) == {0: 2, 2: 5}
    assert made.num_entries == 2


def test_a_batch_brings_its_labels_unless_others_are_given():
    rows = batch([0, 1, 1], [2], [1], np.int8([1, 0]))

    assert CSRBatch.of(rows).labels.tolist() == [1, 0]
    assert CSRBatch.of(rows, [7, 8]).labels.tolist() == [7, 8]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array, scipy.sparse.csc_array])
def test_matrices_without_rows_or_columns_are_matrices(shape, make):
    made = CSRBatch.of(make(np.zeros(shape)))

    assert (made.num_rows, made.feature_dim, made.num_entries) == (*shape, 0)


def test_a_sparse_matrix_may_be_narrower_than_the_model():
    assert CSRBatch.of(scipy.sparse.csr_array(DENSE), feature_dim=9).feature_dim == 9
    assert CSRBatch.of(DENSE, feature_dim=np.int64(3)).feature_dim == 3
    assert told(scipy.sparse.csr_array(DENSE), feature_dim=2) == (
        "rows of 3 columns, allowed are at most 2 = feature_dim"
    )
    for feature_dim in (2, 9):
        assert told(DENSE, feature_dim=feature_dim) == (
            f"rows of 3 columns, allowed are {feature_dim} = feature_dim"
        )


@pytest.mark.parametrize("feature_dim", [-1, 2**31, 3.0, True, "3"])
def test_a_feature_dim_that_is_none_is_refused(feature_dim):
    assert told(DENSE, feature_dim=feature_dim) == (
        f"feature_dim {feature_dim!r}, allowed are whole numbers from 0 to 2147483647"
    )


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (np.zeros((2, 2, 2)), "rows of 3 dimensions, allowed are two: (num_rows, feature_dim)"),
        ([1.0, 2.0], "rows of 1 dimensions, allowed are two: (num_rows, feature_dim)"),
        (None, "rows of dtype object, allowed are real numbers"),
        ([["a"]], "rows of dtype <U1, allowed are real numbers"),
        ([[1j]], "rows of dtype complex128, allowed are real numbers"),
        ([[1], [1, 2]], "rows are no array of numbers: setting an array element"),
        ([[0, np.nan]], "rows hold nan at (0, 1), allowed are finite float32 numbers"),
        ([[0, -1e39]], "rows hold -1e+39 at (0, 1), allowed are finite float32 numbers"),
        (
            scipy.sparse.csr_array([[0, 1], [0, np.inf]]),
            "rows hold inf at (1,), allowed are finite float32 numbers: row 1, feature 1",
        ),
        (
            scipy.sparse.csr_array([[1j]]),
            "rows of dtype complex128, allowed are real numbers",
        ),
        (scipy.sparse.coo_array((1, 2**31)), "rows of 2147483648 columns, allowed are 2147483647"),
        (batch([0, 1, 2], [1, 3], [1, 1]), "row 1: feature 3 is outside [0, 3)"),
        (batch([0, 0, 0, 2], [1, -1], [1, 1]), "row 2: feature -1 is outside [0, 3)"),
        (batch([0, 1], [1.0], [1]), "features of dtype float64, allowed are whole numbers"),
        (damaged("csr_array", indices=[1, 0, 3]), "row 2: feature 3 is outside [0, 3)"),
        (damaged("csr_array", indices=[1, -1, 2]), "row 2: feature -1 is outside [0, 3)"),
        (damaged("csc_array", indices=[2, 0, 3]), "column 2: row 3 is outside [0, 3)"),
        (damaged("coo_array", row=[0, 9, 1]), "entry 1: row 9 is outside [0, 3)"),
        (damaged("coo_array", col=[0, 1, -1]), "entry 2: feature -1 is outside [0, 3)"),
        *(
            (
                rows,
                f"3 {name} whose bounds, indptr, are {length} numbers of dtype {dtype}, allowed "
                "are 4 whole ones that start at 0, never fall, and end at 3, the number of "
                "entries, or before",
            )
            for rows, name, length, dtype in [
                (damaged("csr_array", indptr=[0, 1, 1, 4]), "rows", 4, "int64"),
                (damaged("csr_array", indptr=[0, 2, 1, 3]), "rows", 4, "int64"),
                (damaged("csr_array", indptr=[1, 1, 1, 3]), "rows", 4, "int64"),
                (damaged("csr_array", indptr=[0, 1, 3]), "rows", 3, "int64"),
                (damaged("csc_array", indptr=[0, 1, 1, 9]), "columns", 4, "int64"),
                (batch([0.0, 1, 1, 3], [1, 0, 2], [1, 1, 1]), "rows", 4, "float64"),
            ]
        ),
    ],
)
def test_what_is_no_matrix_of_features_is_refused(rows, problem):
    assert told(rows).startswith(problem)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([1, 2], "labels of shape (2,), allowed is one a row: (3,)"),
        ([[1], [0], [1]], "labels of shape (3, 1), allowed is one a row: (3,)"),
        (1, "labels of shape (), allowed is one a row: (3,)"),
        (["a", "b", "c"], "labels of dtype <U1, allowed are real numbers"),
        ([0, 1, np.nan], "labels hold nan at (2,), allowed are finite float32 numbers"),
    ],
)
def test_labels_that_are_none_are_refused(labels, problem):
    assert told(DENSE, labels) == problem


def test_a_batch_without_bounds_is_refused():
    assert told(batch([], [], [])).startswith("-1 rows whose bounds, indptr, are 0 numbers")


def test_labels_of_a_classifier_are_0_and_1():
    assert CSRBatch.of(DENSE, [True, False, True], binary=True).labels.tolist() == [1, 0, 1]
    assert CSRBatch.of(DENSE, binary=True).labels is None
    for label in (-1, 7, 0.5):
        assert told(DENSE, [0, label, 1], binary=True) == (
            f"row 1: label {label} is not 0 or 1, the labels of a binary_classifier"
        )


def test_weights_are_taken_with_the_rows():
    made = CSRBatch.of(DENSE, LABELS, None, [1, 0, 2.5])

    assert made.weights.tolist() == [1, 0, 2.5]
    assert made.weights.dtype == np.float32
    assert CSRBatch.of(DENSE, LABELS).weights is None
    assert CSRBatch.of(made).weights.tolist() == [1, 0, 2.5]
    assert CSRBatch.of(made, sample_weight=[7, 8, 9]).weights.tolist() == [7, 8, 9]


def test_weights_of_the_right_type_are_shared():
    weights = np.float32([1, 2, 3])

    assert CSRBatch.of(DENSE, LABELS, sample_weight=weights).weights is weights


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ([1, 2], "weights of shape (2,), allowed is one per row: (3,)"),
        (1, "weights of shape (), allowed is one per row: (3,)"),
        (["a", "b", "c"], "weights of dtype <U1, allowed are real numbers"),
        ([0, 1, np.inf], "weights hold inf at (2,), allowed are finite float32 numbers"),
        ([0, 1, 1e40], "weights hold 1e+40 at (2,), allowed are finite float32 numbers"),
        ([0, 1, -0.5], "row 2: weight -0.5, allowed are numbers from 0"),
    ],
)
def test_weights_that_are_none_are_refused(weights, problem):
    assert told(DENSE, LABELS, sample_weight=weights) == problem
