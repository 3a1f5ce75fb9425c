"""The CPU kernel for weights of fields: other passes over the rows, the same over the columns."""

from dataclasses import dataclass

import numpy as np

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.runtime.simd import aligned_rows
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.gradient import Columns, PreparedBatch
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.field_passes import (
    forward_fields,
    sum_pairs,
    update_pairs,
)
from fm_algo.training.gradient.field_rows import FieldRows, by_field, fields_of_ascending
from fm_algo.training.gradient.optimizers import field_weights_lr, learning_rate
from fm_algo.training.gradient.passes import update_columns
from fm_algo.training.gradient.transpose import transpose


@dataclass(frozen=True, slots=True, eq=False)
class FieldBatch(PreparedBatch):
    """A mini-batch by places and, for pass 3, by columns of places.

    Attributes
    ----------
    rows : FieldRows
    columns : Columns
        Their `rows` are places.
    column_fields : int32, shape (num_columns,)
        The field of each column's feature.
    """

    rows: FieldRows
    columns: Columns
    column_fields: Int32Array


class FieldCPUKernel(CPUKernel):
    """Mini-batch training with weights of fields, with the formulas of `ReferenceKernel`.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    space : FeatureSpace
        The fields.

    Raises
    ------
    UserError
        If there are too many fields.
    """

    def __init__(self, hyperparameters: Hyperparameters, space: FeatureSpace) -> None:
        super().__init__(hyperparameters, space)
        self._space = space
        self._num_fields = len(space.fields)
        self._sums = self._weighted_sums = np.empty((0, 0), np.float32)

    def prepare(self, batch: CSRBatch) -> FieldBatch:
        """Sort a mini-batch by fields and by columns; may run during other steps."""
        rows = by_field(batch, self._space)
        columns = transpose(rows.as_batch())
        space = self._space
        fields = fields_of_ascending(columns.features, space.firsts, space.numbers)
        return FieldBatch(batch, columns, rows, fields)

    def step(self, prepared: PreparedBatch) -> Float32Array:
        """Update the parameters once; return the margins before that, float32, (num_rows,)."""
        if not isinstance(prepared, FieldBatch):
            raise TypeError("this mini-batch was prepared by another kernel")
        rows, columns, parameters = prepared.rows, prepared.columns, self._parameters
        R = self._field_weights()
        margin, sums, weighted_sums, within = self._forward_fields(rows, R)
        residual = self._residuals(margin, prepared.batch)
        by_pair, place_residual = sum_pairs(rows, residual, sums, within, self._num_fields)
        bias, parameter_rows, w_at, constants = self._begin_update()
        update_columns(
            columns.features, columns.starts, columns.rows, columns.values, place_residual,
            weighted_sums, bias, parameter_rows, w_at, constants,
            (residual, prepared.column_fields, R),
        )  # fmt: skip
        chosen = self._hyperparameters
        lr = learning_rate(chosen.optimizer, field_weights_lr(chosen), int(parameters.num_steps[0]))
        update_pairs(
            by_pair, parameters.pairs, self._num_fields,
            np.float32(lr), np.float32(chosen.field_weights_wd), constants,
        )  # fmt: skip
        return margin

    def _margins(self, batch: CSRBatch) -> Float32Array:
        rows = by_field(batch, self._space)
        return self._forward_fields(rows, self._field_weights())[0]

    def _field_weights(self) -> Float32Array:
        """Return the present R, (F, F), in memory of its own."""
        return self._parameters.pairs[:, 0].copy().reshape(self._num_fields, self._num_fields)

    def _forward_fields(
        self, rows: FieldRows, R: Float32Array
    ) -> tuple[Float32Array, Float32Array, Float32Array, Float32Array]:
        """Return each row's margin (n,), and of each place s_f and t_f (p, width) and h_f (p,)."""
        parameters, num_places = self._parameters, rows.num_places
        if num_places >= len(self._sums):
            # Kept for the next step: memory that is new each time costs more than the work in it.
            width = parameters.layout.width
            self._sums, self._weighted_sums = (
                aligned_rows(np.empty, num_places + num_places // 8 + 1, width) for _ in range(2)
            )
        sums, weighted_sums = self._sums[: num_places + 1], self._weighted_sums[:num_places]
        sums[-1] = 0  # of no place
        margin, within = np.empty(rows.batch.num_rows, np.float32), np.empty(num_places, np.float32)
        forward_fields(
            (rows.row_starts, rows.starts, rows.fields), rows.batch.indices, rows.batch.values,
            parameters.bias[0, 0], parameters.rows, parameters.layout.w_at,
            self._hyperparameters.use_linear, R, margin, sums, weighted_sums, within,
        )  # fmt: skip
        return margin, sums, weighted_sums, within
