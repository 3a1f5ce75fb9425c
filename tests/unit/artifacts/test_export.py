import numpy as np
import pytest

from fm_algo import read_recordio
from fm_algo.artifacts.builtin.artifact import load_builtin_model, save_builtin_model
from fm_algo.artifacts.export import item_vectors, save_libfm, save_npy, save_vectors, user_vectors
from fm_algo.data.formats.record import RecordIODecoder
from fm_algo.errors import UserError
from fm_algo.model import FieldWeights, FMModel
from fm_algo.model.plain import as_plain
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace

MODEL = FMModel(
    "regressor",
    np.array([0.1], np.float32),
    np.array([1, -2.5, 1e-20], np.float32),
    np.array([[0.5, 3], [1 / 3, -1e10], [0, 7]], np.float32),
)


def test_arrays_are_written_as_they_are(tmp_path):
    save_npy(tmp_path, MODEL)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["V.npy", "w.npy", "w0.npy"]
    for name in ("w0", "w", "V"):
        array = np.load(tmp_path / f"{name}.npy", allow_pickle=False)
        assert array.dtype == np.float32
        assert array.tolist() == getattr(MODEL, name).tolist()


def test_the_text_is_what_libfm_reads(tmp_path):
    save_libfm(tmp_path / "model.libfm", MODEL)

    assert (tmp_path / "model.libfm").read_text() == (
        "#global bias W0\n"
        "0.100000001\n"
        "#unary interactions Wj\n"
        "1\n"
        "-2.5\n"
        "9.99999968e-21\n"
        "#pairwise interactions Vj,f\n"
        "0.5 3\n"
        "0.333333343 -1e+10\n"
        "0 7\n"
    )


def test_numbers_read_from_the_text_are_the_same_numbers(tmp_path):
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, (40, 5), dtype=np.uint32).view(np.float32)
    V = np.where(np.isfinite(bits), bits, np.float32(0))
    save_libfm(tmp_path / "model.libfm", FMModel("regressor", V[0, :1], V[:, 0].copy(), V))

    lines = (tmp_path / "model.libfm").read_text().splitlines()

    assert np.float32(lines[1]) == V[0, 0]
    assert np.array(lines[3:43], np.float32).tobytes() == V[:, 0].tobytes()
    assert np.array([line.split(" ") for line in lines[44:]], np.float32).tobytes() == V.tobytes()


def test_an_items_vector_is_its_factors_and_its_weight():
    assert (
        item_vectors(MODEL, range(1, 3)).tolist()
        == np.array([[1 / 3, -1e10, -2.5], [0, 7, 1e-20]], np.float32).tolist()
    )


def test_a_users_vector_is_its_factors_and_one():
    assert user_vectors(MODEL, range(1)).tolist() == [[0.5, 3, 1]]


@pytest.mark.parametrize("items", [range(1, 4), range(2, 2), range(3, 2)])
def test_vectors_of_features_the_model_lacks_are_refused(items):
    with pytest.raises(UserError) as error:
        item_vectors(MODEL, items)

    assert error.value.message == (
        f"items {items.start}:{items.stop} are not among the features 0:3 of the model"
    )


def test_vectors_are_written_as_arrays_and_as_dense_records(tmp_path):
    save_vectors(tmp_path, MODEL, range(1, 3), range(1))

    items, users = item_vectors(MODEL, range(1, 3)), user_vectors(MODEL, range(1))
    assert np.load(tmp_path / "items.npy").tolist() == items.tolist()
    assert np.load(tmp_path / "users.npy").tolist() == users.tolist()
    rows, labels = read_recordio(tmp_path / "items.pbr")
    assert rows.toarray().tolist() == items.tolist()
    assert labels is not None
    assert labels.tolist() == [0, 1]
    rows, labels = read_recordio(tmp_path / "users.pbr")
    assert rows.toarray().tolist() == users.tolist()
    assert labels is None
    # Dense: a record of n numbers and no keys is read whatever its values are.
    decoder = RecordIODecoder(feature_dim=4, labelled=True)
    with pytest.raises(UserError, match="4"):
        decoder.feed((tmp_path / "items.pbr").read_bytes())


def test_without_users_there_are_no_users_files(tmp_path):
    save_vectors(tmp_path, MODEL, range(2), None)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.npy", "items.pbr"]


def weighted_model(R):
    """Features 0 and 1 are users, 2 to 4 items, 5 a day."""
    random, fields = np.random.default_rng(0), np.array([0, 0, 1, 1, 1, 2], np.int32)
    space = FeatureSpace.of_map(("user", "item", "day"), fields)
    w0, w, V = (random.normal(size=shape).astype(np.float32) for shape in (1, 6, (6, 3)))
    weights = FieldWeights(np.array(R, np.float32), space)
    return FMModel("regressor", w0, w, V, field_weights=weights)


@pytest.mark.parametrize("weight", [0.7, -1.5, 0.0])
def test_vectors_of_users_and_items_hold_the_weight_of_their_pair_of_fields(tmp_path, weight):
    model = weighted_model([[1, weight, 3], [weight, 1, -1], [3, -1, 1]])

    difference = save_vectors(tmp_path, model, range(2, 5), range(2))

    items, users = (np.load(tmp_path / f"{name}.npy") for name in ("items", "users"))
    assert items.shape == (3, 4)  # no wider than without weights
    assert difference.error < 1e-6
    for user, item in np.ndindex(2, 3):
        row = np.zeros((1, 6))
        row[0, [user, item + 2]] = 1
        expected = model.margin(CSRBatch.of(row))[0] - model.w0[0] - model.w[user]
        np.testing.assert_allclose(users[user] @ items[item], expected, rtol=1e-5, atol=1e-5)


def test_vectors_of_items_alone_are_for_rows_of_every_field(tmp_path):
    model = weighted_model([[1, 2, 3], [2, 1, -1], [3, -1, 1]])
    plain, _ = as_plain(model)

    save_vectors(tmp_path, model, range(2, 5), None)

    assert np.load(tmp_path / "items.npy").tolist() == item_vectors(plain, range(2, 5)).tolist()


@pytest.mark.parametrize(
    "write",
    [
        save_npy,
        lambda directory, model: save_libfm(directory / "model.libfm", model),
        lambda directory, model: save_builtin_model(directory, model, {"epochs": 1}),
        lambda directory, model: item_vectors(model, range(1)),
        lambda directory, model: user_vectors(model, range(1)),
    ],
)
def test_weights_of_fields_are_not_left_out_silently(tmp_path, write):
    model = weighted_model(np.ones((3, 3)))

    with pytest.raises(UserError, match="pairs of fields have weights, which this layout"):
        write(tmp_path, model)
    assert [*tmp_path.iterdir()] == []
    write(tmp_path, as_plain(model)[0])


def test_the_built_ins_layout_gives_the_same_scores(tmp_path):
    model = weighted_model([[1, 2, 3], [2, 1, -1], [3, -1, 1]])

    save_builtin_model(
        tmp_path, as_plain(model)[0], {"epochs": 1, "interaction": "field_weighted", "l1": 0.0}
    )

    rows = CSRBatch.of(np.array([[1, 0, 0, 2, 0, 1], [0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, -1]]))
    np.testing.assert_allclose(
        load_builtin_model(tmp_path).margin(rows), model.margin(rows), rtol=1e-5, atol=1e-5
    )


def test_more_items_than_a_label_can_number_are_refused(tmp_path):
    with pytest.raises(UserError, match="16777217 items, allowed are 16777216"):
        save_vectors(tmp_path, MODEL, range(2**24 + 1), None)
