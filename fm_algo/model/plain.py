"""Turn a field-weighted factorization machine into an ordinary one with the same margins.

Where R = U Uᵀ, with a row u_f per field, the pair of features i and j counts

    r_{f(i) f(j)} <v_i, v_j> = <u_{f(i)} ⊗ v_i, u_{f(j)} ⊗ v_j>

so that the products u_{f(i)} ⊗ v_i are factors of an ordinary machine. Such a U exists if R is
positive semidefinite. r_ff says nothing of a field that has one feature per row, so it is free: it
becomes what makes R so. Training leaves it at 1, where it starts, and moves that of any field that
has had two features in a row.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fm_algo.errors import UserError
from fm_algo.loss import PredictorType
from fm_algo.model.fm_model import FMModel
from fm_algo.model.semidefinite import square_root
from fm_algo.sparse import Float32Array, Int32Array, to_float32
from fm_algo.sparse.feature_space import FeatureSpace

_NUMBERS_AT_ONCE = 1 << 20

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """How an ordinary machine differs from the field-weighted one that it was made from.

    Attributes
    ----------
    error : float
        The largest difference of a weight r_fg, of pairs that occurred in training.
    fields : (str, str)
        The names of f and g.
    times : int
        How many times the factors it has.
    """

    error: float
    fields: tuple[str, str]
    times: int

    def __str__(self) -> str:
        """Return a clause about it."""
        first, second = self.fields
        return (
            f"the weights of pairs of fields became factors, {self.times} times as many; the one "
            f"that moved most, of {first} and {second}, moved by {self.error:.2g}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class WideFactors:
    """The factors u_{f(i)} ⊗ v_i, made where they are read: float32, (feature_dim, L num_factors).

    Attributes
    ----------
    V : float32, shape (feature_dim, num_factors)
    space : FeatureSpace
    U : float64, shape (F, L)
    """

    V: Float32Array
    space: FeatureSpace
    U: _Numbers

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of all of them."""
        return len(self.V), self.U.shape[1] * self.V.shape[1]

    def __getitem__(self, rows: slice) -> Float32Array:
        """Return those of some features in a row."""
        first, stop, _ = rows.indices(len(self.V))
        of_fields = self.U[self.space.field_of(np.arange(first, stop, dtype=np.int32))]
        factors = of_fields[:, :, np.newaxis] * self.V[first:stop, np.newaxis]
        return to_float32(factors.reshape(stop - first, -1))


@dataclass(frozen=True, slots=True, eq=False)
class PlainModel:
    """An ordinary machine whose wide factors are never in memory at once.

    Attributes
    ----------
    predictor_type : {"regressor", "binary_classifier"}
    w0 : float32, shape (1,)
    w : float32, shape (feature_dim,)
    V : WideFactors
    """

    predictor_type: PredictorType
    w0: Float32Array
    w: Float32Array
    V: WideFactors


def as_plain(
    model: FMModel, *, max_factors: int | None = None, among: Int32Array | None = None
) -> tuple[FMModel, Difference | None]:
    """Return an ordinary factorization machine with the margins of a field-weighted one.

    Parameters
    ----------
    model : FMModel
    max_factors : int, optional
        How many factors there may be, the model's own num_factors at least. Fewer than it takes
        give other margins.
    among : int32, shape (n,), optional
        Numbers of the fields that matter, one at least. The factors of others become 0, and fewer
        factors do.

    Returns
    -------
    plain : FMModel
        The model itself if all pairs count alike. Else one with the same w0 and w and L times as
        many factors, where L is at most the number of fields.
    difference : Difference or None
        None if all pairs count alike.

    Raises
    ------
    UserError
        If a weight of a pair of fields is not finite, or there is no room for the model's factors.

    Notes
    -----
    Margins differ also for rows that have two features of a field that never had two in training.
    """
    sliced, difference = plain_in_slices(model, max_factors=max_factors, among=among)
    if isinstance(sliced, FMModel):
        return sliced, None
    V = np.empty(sliced.V.shape, np.float32)
    step = max(1, _NUMBERS_AT_ONCE // V.shape[1])
    for first in range(0, len(V), step):
        V[first : first + step] = sliced.V[first : first + step]
    return FMModel(model.predictor_type, model.w0, model.w, V), difference


def plain_in_slices(
    model: FMModel, *, max_factors: int | None = None, among: Int32Array | None = None
) -> tuple[FMModel | PlainModel, Difference | None]:
    """Return what `as_plain` does, with factors that are made where they are read.

    Parameters
    ----------
    model, max_factors, among
        As for `as_plain`.

    Returns
    -------
    plain : FMModel or PlainModel
        The model itself if all pairs count alike.
    difference : Difference or None

    Raises
    ------
    UserError
        As from `as_plain`.
    """
    weights = model.field_weights
    if weights is None:
        return model, None
    if not np.isfinite(weights.R).all():
        raise UserError("the weights of pairs of fields are not all finite: nothing equals them")
    if max_factors is not None and max_factors < model.num_factors:
        raise UserError(
            f"{max_factors} factors, allowed are {model.num_factors}, as the model has, or more"
        )
    fields = weights.space.fields
    meant = np.arange(len(fields), dtype=np.int32) if among is None else np.unique(among)
    R = weights.R[np.ix_(meant, meant)].astype(np.float64)
    is_free = R.diagonal() == 1
    limit = None if max_factors is None else max_factors // model.num_factors
    root = square_root(R, is_free)[:, :limit]
    error = np.abs(root @ root.T - R)
    error[is_free, is_free] = 0
    first, second = np.unravel_index(int(error.argmax()), error.shape)
    U = np.zeros((len(fields), root.shape[1]))
    U[meant] = root
    V = WideFactors(model.V, weights.space, U)
    names = fields[meant[first]], fields[meant[second]]
    plain = PlainModel(model.predictor_type, model.w0, model.w, V)
    return plain, Difference(float(error.max()), names, U.shape[1])


def check_plain(model: FMModel) -> None:
    """Check that a model is an ordinary machine, as layouts hold that know no weights of fields.

    Raises
    ------
    UserError
        If pairs of fields have weights.
    """
    if model.field_weights is not None:
        raise UserError(
            "pairs of fields have weights, which this layout cannot hold: give it what "
            "fm_algo.model.plain.as_plain makes of the model"
        )
