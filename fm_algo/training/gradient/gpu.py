"""The GPU kernel: the three passes of the CPU kernel, as Triton programs (`gpu_passes`).

1. By rows: S_r, the margin and the residual. This pass also lays out the mini-batch's entries.
2. Sort the entries by feature, so that the pairs of a feature stand together.
3. By columns: a feature's gradient and its optimiser update in one visit.

Parameters and states lie in the device's memory. So do the training rows, if there is room; if not,
the rows of each mini-batch are copied there ahead of its step. The device does not wait for the
host, which launches a step as a whole and fetches the sums of its metrics when they are wanted.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Self

import numpy as np
import torch
import triton

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.loss import LOSSES
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, Int64Array
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.gradient import Kernel, LateSums, gpu_passes
from fm_algo.training.gradient.gpu_memory import check_room, device_errors, free_bytes
from fm_algo.training.gradient.gpu_passes import TILE
from fm_algo.training.gradient.gpu_rows import DeviceBatch, DeviceRows, copy_to, plan_of, to_device
from fm_algo.training.gradient.gpu_work import RecordedStep, Tiles, Work, padded
from fm_algo.training.gradient.optimizers import OPTIMIZER_CODES, Constants
from fm_algo.training.gradient.parameters import Parameters
from fm_algo.training.metrics import metrics_for
from fm_algo.training.state import State, write_model

_log = logging.getLogger(__name__)

_REGRESSION_SUMS = ("weight", "squares", "absolutes")
_CLASSIFICATION_SUMS = (
    "weight", "cross_entropy", "true_positives", "predicted_positives", "positives"
)  # fmt: skip
"""The sums that `gpu_passes.begin_step` computes, by their names in `MetricSums.state`."""

_KEYS_A_PROGRAM = 16
"""Sorted entries per program, which updates their features."""

_BIAS_ROWS = 4096
"""Rows whose residuals and metrics are added up at once."""

_MARGIN_ENTRIES = 1 << 22
"""Entries that `margin` scores at once."""

_MOST_ENTRIES = 2**31 - 2**28
"""Most entries per mini-batch: they are counted in int32."""

_RECORDED_ENTRIES = 1 << 19
"""Up to this many entries, a step is recorded: launching it takes longer than its work."""

_MOST_RECORDS = 16
"""Recorded steps kept, one per size of mini-batches."""


class GPUKernel(Kernel[DeviceBatch]):
    """Mini-batch training on a GPU, with the formulas of `ReferenceKernel`.

    All parameters and states are 0 at first. Before the first step, write the initial parameters
    into `writable_model()`. `model()` and `state()` return arrays on the host, laid out as those of
    `CPUKernel`. So either kernel can continue from the other's checkpoint.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Shapes, optimiser, rates, decay, clipping and which parameter groups exist.
    device : str
        "cuda"; or, for tests, "cpu", where Triton interprets its programs (TRITON_INTERPRET=1).
    space : FeatureSpace, optional
        The fields whose pairs have weights; only `FieldGPUKernel` learns them.

    Raises
    ------
    UserError
        If the device's memory is too small.
    """

    _by_field = False
    """Whether the entries of a row meet other sums of factors."""

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        device: str = "cuda",
        space: FeatureSpace | None = None,
    ) -> None:
        self._hyperparameters = hyperparameters
        self._loss = LOSSES[hyperparameters.predictor_type]
        self._constants = Constants.of(hyperparameters)
        self._device = torch.device(device)
        self._host = Parameters(hyperparameters, space)
        self._parameters_bytes = sum(array.nbytes for array in self._host.state().values())
        check_room(self._device, self._parameters_bytes, self._purpose())
        with device_errors(self._device, self._parameters_bytes, self._purpose()):
            self._own = {
                name: torch.empty(array.shape, dtype=_dtype(array), device=self._device)
                for name, array in self._host.state().items()
            }
            self._rates = torch.empty(2, device=self._device)
        self._host_is_current, self._device_is_current = True, False
        self._tiles = Tiles.of(self._host.layout.width)
        self._work = Work(self._device, self._host.layout.width, by_field=self._by_field)
        self._records: dict[int, RecordedStep] = {}
        self._copies = torch.cuda.Stream(self._device) if self._is_cuda else None
        self._held_bytes = 0

    @classmethod
    def starting_from(
        cls, model: FMModel, hyperparameters: Hyperparameters, device: str = "cuda"
    ) -> Self:
        """Make a kernel whose parameters are a copy of `model`'s."""
        field_weights = model.field_weights
        space = None if field_weights is None else field_weights.space
        kernel = cls(hyperparameters, device, space)
        write_model(model, kernel.writable_model())
        return kernel

    @property
    def description(self) -> str:
        """What trains, for the log."""
        if not self._is_cuda:
            return "Triton's interpreter"
        return f"GPU {torch.cuda.get_device_name(self._device)}"

    @property
    def _is_cuda(self) -> bool:
        return self._device.type == "cuda"

    def hold(self, rows: CSRBatch) -> Callable[[Int64Array], DeviceBatch] | None:
        """Copy the training rows to the device, if there is room.

        Parameters
        ----------
        rows : CSRBatch
            All training rows, with labels.

        Returns
        -------
        callable or None
            Prepares the mini-batch of the rows with the given numbers; None if there is no room.
        """
        num_places = min(self._hyperparameters.mini_batch_size, rows.num_rows)
        num_bytes = DeviceRows.num_bytes(rows)
        if self._is_cuda:
            mean_entries = rows.num_entries / max(rows.num_rows, 1)
            room = free_bytes(self._device) - 2 * self._work.num_bytes(
                num_places, padded(int(num_places * mean_entries))
            )
            if num_bytes > room:
                _log.info(
                    "the training rows, %.2f GB, are copied to the GPU batch by batch: "
                    "%.2f GB are free",
                    num_bytes / 1e9,
                    max(room, 0) / 1e9,
                )
                return None
        with device_errors(self._device, num_bytes, "the training rows"):
            held = DeviceRows.copy_of(rows, self._device)
        self._held_bytes = num_bytes
        self._records.clear()
        lengths = np.diff(rows.indptr)

        def take(numbers: Int64Array) -> DeviceBatch:
            plan = plan_of(numbers, lengths[numbers], num_places)
            return DeviceBatch(held, plan, len(numbers), is_held=True)

        return take

    def prepare(self, batch: CSRBatch) -> DeviceBatch:
        """Copy a mini-batch to the device ahead of its step; may run during other steps."""
        batch.require_labels()
        plan = plan_of(np.arange(batch.num_rows), np.diff(batch.indptr), batch.num_rows)
        compared = None if self._hyperparameters.loss is None else batch
        with device_errors(self._device, DeviceRows.num_bytes(batch), "a mini-batch"):
            if self._copies is None:
                rows = DeviceRows.copy_of(batch, self._device)
                return DeviceBatch(rows, plan, batch.num_rows, compared=compared)
            with torch.cuda.stream(self._copies):
                rows = DeviceRows.copy_of(batch, self._device)
                arrived = torch.cuda.Event()
                arrived.record(self._copies)
            return DeviceBatch(rows, plan, batch.num_rows, arrived=arrived, compared=compared)

    def step(self, prepared: DeviceBatch) -> LateSums:
        """Update the parameters once; return a function that waits for the sums of the metrics."""
        num_places, num_keys = prepared.num_places, padded(prepared.num_entries)
        if num_keys > _MOST_ENTRIES:
            raise UserError(
                f"a mini-batch of {prepared.num_entries} entries is more than the GPU kernel takes "
                f"({_MOST_ENTRIES}): lower mini_batch_size, or set device=cpu"
            )
        work_bytes = self._work.num_bytes(num_places, num_keys)
        with device_errors(self._device, work_bytes, self._purpose_of(prepared)):
            self._to_device()
            if self._work.grow(num_places, num_keys):
                self._records.clear()  # they refer to the old memory
            if prepared.arrived is not None:
                stream = torch.cuda.current_stream(self._device)
                stream.wait_event(prepared.arrived)
                prepared.rows.used_by(stream)
            copy_to(self._work.plan, prepared.plan)
            launch = functools.partial(self._launch, prepared, num_keys)
            self._run(launch, prepared, num_keys)
            self._host_is_current = False
            return self._metric_sums(prepared)

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present parameters, float32, shape (num_rows,)."""
        margin = np.empty(batch.num_rows, np.float32)
        start = 0
        while start < batch.num_rows:
            limit = batch.indptr[start] + _MARGIN_ENTRIES
            stop = int(np.searchsorted(batch.indptr, limit, side="right")) - 1
            stop = min(max(stop, start + 1), batch.num_rows)
            margin[start:stop] = self._margin_of_block(batch.rows(start, stop))
            start = stop
        return margin

    def model(self) -> FMModel:
        """Return the present parameters, on the host; later steps do not change them."""
        self._to_host()
        return self._host.model()

    def state(self) -> State:
        """Return all that later steps depend on: the arrays on the host, not copies."""
        self._to_host()
        return self._host.state()

    def writable_model(self) -> FMModel:
        """Return the present parameters, on the host; later steps use what is written there."""
        model = self.model()
        self._device_is_current = False
        return model

    def writable_state(self) -> State:
        """Return `state()`; later steps use what is written there."""
        state = self.state()
        self._device_is_current = False
        return state

    def _to_host(self) -> None:
        """Bring the host's numbers up to date."""
        if self._host_is_current:
            return
        with device_errors(self._device, 0, "copying the parameters"):
            self._wait_for_device()
            for name, array in self._host.state().items():
                torch.from_numpy(array).copy_(self._own[name])
        self._host_is_current = True

    def _to_device(self) -> None:
        """Bring the device's numbers up to date."""
        if self._device_is_current:
            return
        self._host.before_first_step()
        for name, array in self._host.state().items():
            self._own[name].copy_(torch.from_numpy(array))
        self._device_is_current = True

    def _run(self, launch: Callable[[], None], prepared: DeviceBatch, num_keys: int) -> None:
        """Launch a step; record and replay it if it is small and its rows stay on the device."""
        is_recorded = self._is_cuda and prepared.is_held and num_keys <= _RECORDED_ENTRIES
        if not is_recorded or (
            num_keys not in self._records and len(self._records) == _MOST_RECORDS
        ):
            launch()
            return
        self._records.setdefault(num_keys, RecordedStep()).run(launch)

    def _launch(self, prepared: DeviceBatch, num_keys: int) -> None:
        """Launch the programs of one step; its plan is on the device already."""
        hyperparameters, rows, num_places = (
            self._hyperparameters, prepared.rows, prepared.num_places,
        )  # fmt: skip
        own, layout, work, tiles = self._own, self._host.layout, self._work, self._tiles
        has_values = rows.values is not None or self._by_field
        row_weights = weights_or_stand_in(rows)
        keys, order = work.sorted_keys[:num_keys], work.order[:num_keys]
        constants = dataclasses.asdict(self._constants)
        optimizer = OPTIMIZER_CODES[hyperparameters.optimizer]

        work.keys[:num_keys].fill_(gpu_passes.NO_FEATURE)
        self._forward(rows, work.plan, num_places, work.margin, is_training=True)
        self._complete(rows, num_places)
        if prepared.compared is not None:
            self._compare(prepared.compared, rows.weights)
        gpu_passes.begin_step[1,](
            chosen=work.plan, margin=work.margin, row_labels=work.row_labels,
            row_weights=row_weights, residual=work.residual, num_rows=num_places,
            metric_sums=work.metric_sums,
            bias=own["bias_row"], num_steps=own["num_steps"], rates=self._rates,
            bias_lr=hyperparameters.bias_lr, bias_wd=hyperparameters.bias_wd,
            linear_lr=hyperparameters.linear_lr, factors_lr=hyperparameters.factors_lr,
            **constants,
            IS_CLASSIFIER=self._loss.is_classifier, HAS_WEIGHTS=rows.weights is not None,
            USE_BIAS=hyperparameters.use_bias, OPTIMIZER=optimizer, ROWS=_BIAS_ROWS, num_warps=16,
        )  # fmt: skip
        self._update_others(rows, num_places)
        torch.sort(work.keys[:num_keys], stable=True, out=(keys, order))
        shared = {
            "keys": keys, "pair_rows": work.pair_rows, "pair_gradients": work.pair_gradients,
            "pair_values": work.pair_values, "factor_sums": work.factor_sums,
            "tile_factors": work.tile_factors, "tile_sums": work.tile_sums,
            "width": layout.width, "HAS_VALUES": has_values,
            "PAIRS": tiles.pairs, "FACTORS": tiles.factors, "TILE": TILE, "num_warps": 1,
        }  # fmt: skip
        gpu_passes.arrange_pairs[num_keys // TILE,](
            order=order, rows=work.rows, weights=work.weights, own_values=work.own_values,
            residual=work.residual, BY_FIELD=self._by_field, **shared,
        )  # fmt: skip
        gpu_passes.update_columns[triton.cdiv(num_keys, _KEYS_A_PROGRAM),](
            num_keys=num_keys, parameters=own["parameter_rows"], rates=self._rates,
            stride=layout.stride, w_at=layout.w_at, states_at=layout.states_at,
            num_factors=hyperparameters.num_factors,
            linear_wd=hyperparameters.linear_wd, factors_wd=hyperparameters.factors_wd,
            **constants, **shared,
            OPTIMIZER=optimizer, USE_LINEAR=hyperparameters.use_linear, KEYS=_KEYS_A_PROGRAM,
        )  # fmt: skip

    def _forward(
        self,
        rows: DeviceRows,
        plan: torch.Tensor,
        num_places: int,
        margin: torch.Tensor,
        *,
        is_training: bool,
    ) -> None:
        layout, work, tiles = self._host.layout, self._work, self._tiles
        gpu_passes.forward_rows[num_places,](
            chosen=plan, starts=plan[num_places:], indptr=rows.indptr, indices=rows.indices,
            values=values_or_stand_in(rows), labels=rows.labels,
            row_weights=weights_or_stand_in(rows),
            bias=self._own["bias_row"], parameters=self._own["parameter_rows"],
            stride=layout.stride, w_at=layout.w_at, width=layout.width,
            margin=margin, residual=work.residual, factor_sums=work.factor_sums,
            row_labels=work.row_labels, keys=work.keys, rows=work.rows, weights=work.weights,
            IS_CLASSIFIER=self._loss.is_classifier, HAS_VALUES=rows.values is not None,
            HAS_WEIGHTS=rows.weights is not None, IS_TRAINING=is_training,
            ENTRIES=tiles.entries, FACTORS=tiles.factors, num_warps=1,
        )  # fmt: skip

    def _complete(self, rows: DeviceRows, num_places: int) -> None:
        """Complete margins and residuals of which pass 1 finds a part; here it finds them whole."""

    def _update_others(self, rows: DeviceRows, num_places: int) -> None:
        """Update what is no feature's, now that residuals are whole; here there is nothing."""

    def _compare(self, batch: CSRBatch, weights: torch.Tensor | None) -> None:
        """Set the residuals of comparisons: the formulas of `RankingLoss.residual`."""
        num_groups = int(np.count_nonzero(batch.require_labels()))
        groups = self._work.margin[: batch.num_rows].view(num_groups, -1)
        differences = groups[:, :1] - groups[:, 1:]
        is_bpr = self._hyperparameters.loss == "bpr"
        slopes = -torch.sigmoid(-differences) if is_bpr else -(differences < 1).float()
        slopes /= differences.shape[1]
        residual = torch.cat([slopes.sum(dim=1, keepdim=True), -slopes], dim=1).view(-1)
        weighed = residual if weights is None else residual * weights
        self._work.residual[: batch.num_rows] = weighed

    def _complete_margin(self, margin: torch.Tensor) -> None:
        """Complete the margins of rows that are only scored, in the same way."""

    def _metric_sums(self, prepared: DeviceBatch) -> LateSums:
        """Begin to fetch the sums of the step just launched; of comparisons, the margins."""
        num_rows, compared = prepared.num_rows, prepared.compared
        source = self._work.metric_sums if compared is None else self._work.margin[:num_rows]
        fetched = torch.empty(len(source), dtype=source.dtype, pin_memory=self._is_cuda)
        fetched.copy_(source, non_blocking=True)
        done = None
        if self._is_cuda:
            done = torch.cuda.Event()
            done.record()

        def wait() -> dict[str, float]:
            if done is not None:
                with device_errors(self._device, 0, "a mini-batch"):
                    self._wait(done)
            if compared is not None:
                sums = metrics_for(self._hyperparameters.objective)
                sums.update(fetched.numpy(), compared.require_labels(), compared.weights)
                return sums.state()
            names = _CLASSIFICATION_SUMS if self._loss.is_classifier else _REGRESSION_SUMS
            return {"rows": num_rows} | dict(zip(names, fetched.tolist(), strict=False))

        return wait

    def _wait(self, done: torch.cuda.Event) -> None:
        """Wait until the device has reached the event."""
        done.synchronize()

    def _wait_for_device(self) -> None:
        """Wait until the device has done all its work, if it is a GPU."""
        if self._is_cuda:
            done = torch.cuda.Event()
            done.record()
            self._wait(done)

    def _margin_of_block(self, batch: CSRBatch) -> Float32Array:
        with device_errors(self._device, DeviceRows.num_bytes(batch), "scoring rows"):
            self._to_device()
            rows = DeviceRows.copy_of(batch, self._device)
            n = batch.num_rows
            plan = plan_of(np.arange(n), np.diff(batch.indptr), n)
            margin = torch.empty(n, device=self._device)
            self._forward(rows, to_device(plan, self._device), n, margin, is_training=False)
            self._complete_margin(margin)
            self._wait_for_device()
            result: Float32Array = margin.cpu().numpy()
            return result

    def _purpose(self) -> str:
        hyperparameters, (num_features, stride) = self._hyperparameters, self._host.rows.shape
        return (
            f"holding the parameters and the states of {hyperparameters.optimizer} "
            f"({num_features} features of {stride} numbers)"
        )

    def _purpose_of(self, prepared: DeviceBatch) -> str:
        return (
            f"a mini-batch of {prepared.num_rows} rows and {prepared.num_entries} entries, "
            f"beside {self._parameters_bytes / 1e9:.2f} GB of parameters and states and "
            f"{self._held_bytes / 1e9:.2f} GB of training rows,"
        )


def values_or_stand_in(rows: DeviceRows) -> torch.Tensor:
    """Return what a program takes for the values, which it does not read if there are none."""
    return rows.labels if rows.values is None else rows.values


def weights_or_stand_in(rows: DeviceRows) -> torch.Tensor:
    """Return the weights; without weights, a tensor that a program takes and does not read.

    Shape (num_rows,), float32.
    """
    return rows.labels if rows.weights is None else rows.weights


def _dtype(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> torch.dtype:
    return torch.int64 if array.dtype == np.int64 else torch.float32
