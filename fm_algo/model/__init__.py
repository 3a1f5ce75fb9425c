"""The parameters of a model, and how it scores a row.

fm_model        `FMModel`: w0, w and V, with samples or weights of fields where it has them
field_weights   `FieldWeights`: how much each pair of fields counts
plain           `as_plain`: an ordinary machine with the margins of a field-weighted one
semidefinite    the matrix of weights as U Uᵀ, for that
"""

from fm_algo.loss import PredictorType
from fm_algo.model.field_weights import FieldWeights
from fm_algo.model.fm_model import FMModel, sum_by_row

__all__ = ["FMModel", "FieldWeights", "PredictorType", "sum_by_row"]
