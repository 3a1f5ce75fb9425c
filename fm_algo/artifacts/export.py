"""Export a model: as plain arrays, as libFM's text, or as vectors for nearest-neighbour search."""

from pathlib import Path

import numpy as np

from fm_algo.artifacts.whole_file import write_whole
from fm_algo.data.recordio_file import write_recordio
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.model.plain import Difference, as_plain, check_plain
from fm_algo.sparse import Float32Array, Int32Array

LIBFM_FILE = "model.libfm"

_MAX_ITEMS = 1 << 24
"""Labels are float32: above this number, two items would have the same label."""


def save_npy(directory: Path, model: FMModel) -> None:
    """Write w0.npy, shape (1,), w.npy, (feature_dim,), and V.npy, (feature_dim, num_factors).

    Parameters
    ----------
    directory : Path
        Must exist.
    model : FMModel

    Raises
    ------
    UserError
        If pairs of fields have weights.
    PlatformError
        If a file cannot be written.
    """
    check_plain(model)
    for name, array in (("w0", model.w0), ("w", model.w), ("V", model.V)):
        _save_array(directory / f"{name}.npy", array)


def save_libfm(path: Path, model: FMModel) -> None:
    """Write the text that libFM loads with -load_model and -dim '1,1,num_factors'.

    Parameters
    ----------
    path : Path
        The file.
    model : FMModel
        Written with nine digits per number, so that reading as float32 gives the same numbers.

    Raises
    ------
    UserError
        If pairs of fields have weights.
    PlatformError
        If it cannot be written.

    Notes
    -----
    libFM 1.4.4, src/fm_core/fm_model.h, fm_model::saveModel and loadModel.
    """
    check_plain(model)
    factors = " ".join(["%.9g"] * model.num_factors) + "\n"
    with write_whole(path) as file:
        file.write(f"#global bias W0\n{model.w0[0]:.9g}\n#unary interactions Wj\n".encode())
        file.writelines(b"%.9g\n" % weight for weight in model.w.tolist())
        file.write(b"#pairwise interactions Vj,f\n")
        file.writelines((factors % tuple(row.tolist())).encode() for row in model.V)


def item_vectors(model: FMModel, items: range) -> Float32Array:
    """Return the vector to index for each item: its factors, then its linear weight.

    Parameters
    ----------
    model : FMModel
    items : range
        Features of the items, first to last.

    Returns
    -------
    float32, shape (num_items, num_factors + 1)
        Row i is [V_i, w_i] of feature items[i]. Its inner product with a user's vector is the
        margin of a row of the two features, less w0 and the user's linear weight. These two are
        the same for all items.

    Raises
    ------
    UserError
        If an item is not a feature of the model, or pairs of fields have weights.

    Notes
    -----
    AWS Machine Learning Blog, "Extending Amazon SageMaker factorization machines algorithm to
    predict top x recommendations".
    """
    check_plain(model)
    features = _features(model, items, "items")
    return np.hstack([model.V[features], model.w[features, np.newaxis]])


def user_vectors(model: FMModel, users: range) -> Float32Array:
    """Return the vector to search with for each user: its factors, then 1.

    Parameters
    ----------
    model : FMModel
    users : range
        Features of the users, first to last.

    Returns
    -------
    float32, shape (num_users, num_factors + 1)
        Row i is [V_u, 1] of feature users[i]; see `item_vectors`.

    Raises
    ------
    UserError
        If a user is not a feature of the model, or pairs of fields have weights.
    """
    check_plain(model)
    features = _features(model, users, "users")
    return np.hstack([model.V[features], np.ones((len(users), 1), np.float32)])


def save_vectors(
    directory: Path, model: FMModel, items: range, users: range | None
) -> Difference | None:
    """Write items.npy and items.pbr, and users.npy and users.pbr if there are users.

    Parameters
    ----------
    directory : Path
        Must exist.
    model : FMModel
        Where pairs of fields have weights, the vectors are those of an ordinary machine that weighs
        the fields of these features alike; of all features if there are no users.
    items, users : range
        As for `item_vectors` and `user_vectors`. The .pbr files are RecordIO-protobuf with one
        dense record per vector. items.pbr is for the training channel of SageMaker's k-NN
        (index_metric INNER_PRODUCT); its labels are the items' numbers, from 0. users.pbr is for
        k-NN requests.

    Returns
    -------
    Difference or None
        How that machine differs; None if all pairs count alike.

    Raises
    ------
    UserError
        If they are not features of the model, or a float32 label cannot number all items.
    PlatformError
        If a file cannot be written.
    """
    if len(items) > _MAX_ITEMS:
        raise UserError(f"{len(items)} items, allowed are {_MAX_ITEMS}: labels are float32")
    plain, difference = as_plain(model, among=_fields_of(model, items, users))
    groups = {"items": item_vectors(plain, items)}
    if users is not None:
        groups["users"] = user_vectors(plain, users)
    for name, vectors in groups.items():
        _save_array(directory / f"{name}.npy", vectors)
        labels = np.arange(len(vectors), dtype=np.float32) if name == "items" else None
        with write_whole(directory / f"{name}.pbr") as file:
            write_recordio(file, vectors, labels)
    return difference


def _fields_of(model: FMModel, items: range, users: range | None) -> Int32Array | None:
    """Return the fields of items and users; None if all may matter."""
    if model.field_weights is None or users is None:
        return None
    fields = model.field_weights.space.field_map()
    spans = _features(model, items, "items"), _features(model, users, "users")
    return np.unique(np.concatenate([fields[span] for span in spans]))


def _features(model: FMModel, features: range, what: str) -> slice:
    if not (0 <= features.start < features.stop <= model.feature_dim):
        raise UserError(
            f"{what} {features.start}:{features.stop} are not among the features 0:"
            f"{model.feature_dim} of the model"
        )
    return slice(features.start, features.stop)


def _save_array(path: Path, array: Float32Array) -> None:
    with write_whole(path) as file:
        np.save(file, array, allow_pickle=False)
