"""The GPU kernel for weights of fields: other passes over the rows, the same over the columns.

The rows of a mini-batch are taken piece by piece, so that the cells (`gpu_field_passes`) of a piece
take no more than `_MOST_NUMBERS` numbers, however many fields there are. torch multiplies the
matrices: cuBLAS adds up in the same order each time on one stream.
"""

import dataclasses
import functools
from collections.abc import Callable

import torch
import triton

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch, Float32Array, Int64Array
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.gradient import gpu_field_passes
from fm_algo.training.gradient.field_rows import by_field
from fm_algo.training.gradient.gpu import GPUKernel, values_or_stand_in, weights_or_stand_in
from fm_algo.training.gradient.gpu_field_passes import BLOCK_ROWS
from fm_algo.training.gradient.gpu_memory import check_room, device_errors
from fm_algo.training.gradient.gpu_rows import DeviceBatch, DeviceRows, to_device
from fm_algo.training.gradient.optimizers import OPTIMIZER_CODES, field_weights_lr
from fm_algo.training.gradient.parameters import PAIR_ROWS, PARAMETER_ROWS

_MOST_NUMBERS = 1 << 28
"""The most numbers of a piece: s and t of its cells, the gradient by R of each of its blocks."""

_ROWS_SCORED = 4096
"""A piece has room for as many rows, if not for a mini-batch: scoring takes pieces, too."""

_PAIRS_A_PROGRAM = 128


class _Cells:
    """The cells of a piece and, by pairs of fields, R and the gradient by it.

    Parameters
    ----------
    device : torch.device
    num_fields, width : int
    most_rows : int
        Rows that a piece needs no more of.

    Attributes
    ----------
    num_rows : int
        Rows of a piece, in whole blocks.
    R, by_pair : float32, shape (num_fields, num_fields)
        Of `by_pair`, pairs (f, g) with f <= g alone are right.
    sums, weighted_sums : float32, shape (num_blocks, num_fields, BLOCK_ROWS * width)
        s and t of each cell.
    within : float32, shape (num_blocks, num_fields, BLOCK_ROWS)
        h of each cell.
    """

    def __init__(self, device: torch.device, num_fields: int, width: int, most_rows: int) -> None:
        cells, pairs = num_fields * BLOCK_ROWS, num_fields * num_fields
        block_numbers = 2 * cells * width + pairs
        num_blocks = max(min(_MOST_NUMBERS // block_numbers, -(-most_rows // BLOCK_ROWS)), 1)
        self.num_rows = num_blocks * BLOCK_ROWS
        num_bytes = 4 * (num_blocks * (block_numbers + cells + BLOCK_ROWS) + 2 * pairs)
        purpose = f"working on {self.num_rows} rows of {num_fields} fields at once"
        check_room(device, num_bytes, purpose)
        with device_errors(device, num_bytes, purpose):
            make = functools.partial(torch.empty, device=device)
            self.R, self.by_pair = make(num_fields, num_fields), make(num_fields, num_fields)
            self.sums = make(num_blocks, num_fields, BLOCK_ROWS * width)
            self.weighted_sums = torch.empty_like(self.sums)
            self.within = make(num_blocks, num_fields, BLOCK_ROWS)
            self._residual = make(num_blocks, BLOCK_ROWS)
            self._gradients = make(num_blocks, num_fields, num_fields)

    def begin(self, pairs: torch.Tensor) -> None:
        """Take R from its weights and their states, (num_fields², 3); begin its gradient."""
        self.R.view(-1).copy_(pairs[:, 0])
        self.by_pair.zero_()

    def pieces(self, num_rows: int) -> list[tuple[int, int]]:
        """Cut rows into pieces: the first row of each, and how many there are."""
        firsts = range(0, num_rows, self.num_rows)
        return [(first, min(self.num_rows, num_rows - first)) for first in firsts]

    def clear(self, num_rows: int) -> None:
        """Set s and h of a piece of so many rows to 0."""
        for array in (self.sums, self.within):
            array[: _num_blocks(num_rows)].zero_()

    def weigh(self, num_rows: int) -> None:
        """Set t = R s."""
        sums = self.sums[: _num_blocks(num_rows)]
        torch.bmm(self.R.expand(len(sums), -1, -1), sums, out=self.weighted_sums[: len(sums)])

    def add_gradient(self, residual: torch.Tensor) -> None:
        """Add the gradient by R of a piece, whose rows have these residuals; t is lost."""
        num_blocks = _num_blocks(len(residual))
        g, gradients = self._residual[:num_blocks], self._gradients[:num_blocks]
        g.zero_()
        g.view(-1)[: len(residual)].copy_(residual)
        sums, products = self.sums[:num_blocks], self.weighted_sums[:num_blocks]
        by_row = (num_blocks, -1, BLOCK_ROWS, sums.shape[2] // BLOCK_ROWS)
        torch.mul(
            sums.view(by_row), g.view(num_blocks, 1, BLOCK_ROWS, 1), out=products.view(by_row)
        )
        torch.bmm(products, sums.mT, out=gradients)
        of_own = torch.bmm(self.within[:num_blocks], g[:, :, None])
        gradients.diagonal(dim1=1, dim2=2).copy_(of_own[:, :, 0])
        self.by_pair.add_(gradients.sum(0))


def _num_blocks(num_rows: int) -> int:
    return -(-num_rows // BLOCK_ROWS)


class FieldGPUKernel(GPUKernel):
    """Mini-batch training on a GPU with weights of fields, with the formulas of `ReferenceKernel`.

    Checkpoints are those of `FieldCPUKernel`. Steps are not recorded.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    device : str
        See `GPUKernel`.
    space : FeatureSpace
        The fields.

    Raises
    ------
    UserError
        If there are too many fields, or the device's memory is too small.
    """

    _by_field = True

    def __init__(self, hyperparameters: Hyperparameters, device: str, space: FeatureSpace) -> None:
        super().__init__(hyperparameters, device, space)
        self._space = space
        self._cells = _Cells(
            self._device,
            len(space.fields),
            self._host.layout.width,
            max(hyperparameters.mini_batch_size, _ROWS_SCORED),
        )
        self._field_of = to_device(space.field_map(), self._device)

    def hold(self, rows: CSRBatch) -> Callable[[Int64Array], DeviceBatch] | None:
        """Copy the training rows to the device, sorted by fields, if there is room."""
        return super().hold(by_field(rows, self._space).batch)

    def prepare(self, batch: CSRBatch) -> DeviceBatch:
        """Copy a mini-batch to the device, sorted by fields; may run during other steps."""
        return super().prepare(by_field(batch, self._space).batch)

    def _margin_of_block(self, batch: CSRBatch) -> Float32Array:
        return super()._margin_of_block(by_field(batch, self._space).batch)

    def _run(self, launch: Callable[[], None], prepared: DeviceBatch, num_keys: int) -> None:
        """Launch a step; never recorded, because no card has shown yet that its products can be."""
        launch()

    def _forward(
        self,
        rows: DeviceRows,
        plan: torch.Tensor,
        num_places: int,
        margin: torch.Tensor,
        *,
        is_training: bool,
    ) -> None:
        cells, layout, tiles, work = self._cells, self._host.layout, self._tiles, self._work
        cells.begin(self._own[PAIR_ROWS])
        for first, num_rows in cells.pieces(num_places):
            self._sum_fields(rows, plan, first, num_rows)
            cells.weigh(num_rows)
            gpu_field_passes.weigh_fields[num_rows,](
                chosen=plan, starts=plan[num_places:], indptr=rows.indptr, indices=rows.indices,
                values=values_or_stand_in(rows), labels=rows.labels,
                row_weights=weights_or_stand_in(rows),
                field_of=self._field_of, num_fields=len(cells.R), bias=self._own["bias_row"],
                parameters=self._own[PARAMETER_ROWS], stride=layout.stride, w_at=layout.w_at,
                width=layout.width, first_row=first, weights_of_pairs=cells.R, sums=cells.sums,
                weighted_sums=cells.weighted_sums, within=cells.within,
                margin=margin, residual=work.residual, row_labels=work.row_labels,
                keys=work.keys, rows=work.rows, entry_values=work.weights,
                own_values=work.own_values, entry_sums=work.factor_sums,
                IS_CLASSIFIER=self._loss.is_classifier, HAS_VALUES=rows.values is not None,
                HAS_WEIGHTS=rows.weights is not None, IS_TRAINING=is_training,
                ENTRIES=tiles.entries, FACTORS=tiles.factors, num_warps=1,
            )  # fmt: skip

    def _sum_fields(self, rows: DeviceRows, plan: torch.Tensor, first: int, num_rows: int) -> None:
        """Find s and h of the cells of a piece: its first row, and how many there are."""
        cells, layout, tiles = self._cells, self._host.layout, self._tiles
        cells.clear(num_rows)
        gpu_field_passes.sum_fields[num_rows,](
            chosen=plan, indptr=rows.indptr, indices=rows.indices,
            values=values_or_stand_in(rows), field_of=self._field_of, num_fields=len(cells.R),
            parameters=self._own[PARAMETER_ROWS], stride=layout.stride, width=layout.width,
            first_row=first, sums=cells.sums, within=cells.within,
            HAS_VALUES=rows.values is not None,
            ENTRIES=tiles.entries, FACTORS=tiles.factors, num_warps=1,
        )  # fmt: skip

    def _update_others(self, rows: DeviceRows, num_places: int) -> None:
        """Update the weights of pairs of fields."""
        chosen, own, cells, work = self._hyperparameters, self._own, self._cells, self._work
        pieces = cells.pieces(num_places)
        for first, num_rows in pieces:
            if len(pieces) > 1:  # the cells are those of the last piece
                self._sum_fields(rows, work.plan, first, num_rows)
            cells.add_gradient(work.residual[first : first + num_rows])
        gpu_field_passes.update_pairs[triton.cdiv(cells.R.numel(), _PAIRS_A_PROGRAM),](
            by_pair=cells.by_pair, pairs=own[PAIR_ROWS], num_steps=own["num_steps"],
            num_fields=len(cells.R), lr=field_weights_lr(chosen), wd=chosen.field_weights_wd,
            **dataclasses.asdict(self._constants),
            OPTIMIZER=OPTIMIZER_CODES[chosen.optimizer], PAIRS=_PAIRS_A_PROGRAM, num_warps=1,
        )  # fmt: skip
