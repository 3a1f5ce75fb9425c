"""The GPU kernel: that it is right, how fast it is, and how near to what the card allows.

    python benchmarks/bench_gpu.py                            on a GPU: check, copy, time, compare
    python benchmarks/bench_gpu.py --profile                  and the device's time for each program
    python benchmarks/bench_gpu.py --device interpreter --small    without a GPU: that it works

It prints one line of JSON for each of these, in this order:

- check: largest difference between this kernel's parameters and the reference's after a few steps,
  for each optimiser, without and with weights of fields;
- copy: the rate at which the card copies within its memory, bytes read plus bytes written;
- epoch: rows per second, for each mini-batch size, over the epochs after the first, from the data
  in GPU memory to the epoch's metrics. Beside it, the bytes that must move, as a rate and as a
  share of the copy's rate (`least_bytes`, `gathered_bytes`), and the log loss of held-out rows;
- torch: the same model and data, written with torch's Embedding and SparseAdam, on the same card;
- fields: rows per second with interaction=field_weighted, a weight per pair of the 39 fields.

Data: that of bench_train.py, 39 entries of value 1 per row.
"""

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from bench_train import commit, make_rows
from peers import LEARNING_RATE, NUM_EPOCHS, NUM_FIELDS, log_loss, run_torch

from fm_algo.hyperparameters import Hyperparameters, parse_hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.gradient.optimizers import UPDATE_RULES
from fm_algo.training.gradient.reference import ReferenceKernel
from fm_algo.training.gradient.select import make_gpu_kernel
from fm_algo.training.initialization import draw_initial, initial_model
from fm_algo.training.report import EpochReport
from fm_algo.training.state import write_model
from fm_algo.training.trainer import train

NUM_TEST = 20_000
SAMPLED_BATCHES = 4


def check(device: str) -> dict[str, float]:
    """Train a little with each optimiser; return the largest differences from the reference."""
    differences: dict[str, float] = {}
    num_rows, num_steps = (1, 1) if device == "cpu" else (8, 20)
    for optimizer, interaction in itertools.product(UPDATE_RULES, ("all", "field_weighted")):
        feature_dim = 10 * NUM_FIELDS
        chosen = parse_hyperparameters(
            {
                "feature_dim": feature_dim,
                "num_factors": 5,
                "predictor_type": "binary_classifier",
                "mini_batch_size": 8,
                "optimizer": optimizer,
                "eps": 1e-3,  # the default enlarges rounding errors of gradients near 0
                "factors_init_sigma": 0.1,
                "factors_lr": 0.01,
                **_interaction(interaction, feature_dim),
            }
        )
        start = initial_model(chosen, chosen.numbered_fields)
        reference = ReferenceKernel(start, chosen)
        kernel = make_gpu_kernel(chosen, chosen.numbered_fields, device)
        write_model(start, kernel.writable_model())
        for seed in range(num_steps):
            batch = make_rows(num_rows, feature_dim, seed)
            reference.step(reference.prepare(batch))
            kernel.step(kernel.prepare(batch))
        name = optimizer if interaction == "all" else f"{optimizer}, {interaction}"
        differences[name] = _largest_difference(kernel.model(), reference.model())
    return differences


def _interaction(interaction: str, feature_dim: int) -> dict[str, object]:
    """Return the hyperparameters of an interaction; the fields are those of `make_rows`."""
    if interaction == "all":
        return {}
    width = feature_dim // NUM_FIELDS
    firsts = [width * number for number in range(NUM_FIELDS)]
    return {"interaction": interaction, "feature_fields": json.dumps(firsts)}


def _largest_difference(model: FMModel, other: FMModel) -> float:
    pairs = [(getattr(model, name), getattr(other, name)) for name in ("w0", "w", "V")]
    if model.field_weights is not None and other.field_weights is not None:
        pairs.append((model.field_weights.R, other.field_weights.R))
    return max(float(np.max(np.abs(one - another))) for one, another in pairs)


def copy_bandwidth(device: str, num_bytes: int) -> float:
    """Return bytes per second, read plus written, of a copy in device memory; median of 20."""
    import torch

    source = torch.rand(num_bytes // 4, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(25):
        _wait_for(device)
        started = time.perf_counter()
        target.copy_(source)
        _wait_for(device)
        times.append(time.perf_counter() - started)
    return 2 * num_bytes / statistics.median(times[5:])


def least_bytes(rows: CSRBatch, chosen: Hyperparameters) -> tuple[float, float]:
    """Return the bytes that an epoch must move if it trains in these mini-batches.

    Returns
    -------
    least : float
        Once per mini-batch, for each of its features: v and w are read for the margins, then v, w
        and their states are read and written. Each entry's number and each row's label are read.
    gathered : float
        The same without a cache that lasts from row to row: v, w and the row's sums of factors (S)
        are read for each entry. S is written once per row.
    """
    k, num_states = chosen.num_factors, UPDATE_RULES[chosen.optimizer].num_states
    read_and_written = 2 * 4 * (k + 1) * (1 + num_states)
    size = chosen.mini_batch_size
    order = np.random.default_rng(0).permutation(rows.num_rows)
    starts = range(0, min(rows.num_rows, SAMPLED_BATCHES * size), size)
    least = gathered = num_rows = 0
    for start in starts:
        batch = rows.take(order[start : start + size])
        data_bytes = 4 * batch.num_entries + 4 * batch.num_rows
        present = len(np.unique(batch.indices))
        least += present * (4 * (k + 1) + read_and_written) + data_bytes
        gathered += present * read_and_written + data_bytes
        gathered += batch.num_entries * (4 * (k + 1) + 4 * k) + batch.num_rows * 4 * k
        num_rows += batch.num_rows
    return least * rows.num_rows / num_rows, gathered * rows.num_rows / num_rows


def train_epochs(
    rows: CSRBatch, test: CSRBatch, chosen: Hyperparameters, device: str, *, profile: bool
) -> tuple[float, float]:
    """Train with the GPU kernel; return seconds of a later epoch and held-out log loss."""
    kernel = make_gpu_kernel(chosen, chosen.numbered_fields, device)
    draw_initial(kernel.writable_model(), chosen)
    source = CachedRows(rows, chosen, kernel.hold(rows))
    learner = GradientLearner(kernel, chosen, source)
    reports = [report for report in train(learner, chosen) if isinstance(report, EpochReport)]
    if profile:
        _profile(lambda: list(train(learner, chosen)))
    epoch_s = statistics.median(report.elapsed_s for report in reports[1:])
    return epoch_s, log_loss(kernel.margin(test), test.require_labels())


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "interpreter"], default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for the interpreter")
    parser.add_argument("--profile", action="store_true", help="the device's time, by program")
    parser.add_argument("--num-rows", type=int, default=1 << 21)
    parser.add_argument("--feature-dim", type=int, default=1_000_000)
    parser.add_argument("--num-factors", type=int, default=64)
    parser.add_argument("--optimizer", choices=UPDATE_RULES, default="adam")
    parser.add_argument("--mini-batch-sizes", type=int, nargs="+", default=[65_536, 1000])
    options = parser.parse_args()
    if options.device == "cuda" and not _has_card():
        parser.exit(0, "bench_gpu: this machine has no GPU; nothing was measured\n")
    if options.device == "interpreter":
        os.environ["TRITON_INTERPRET"] = "1"  # noqa: TID251 - Triton reads it on import
    device = "cpu" if options.device == "interpreter" else "cuda"
    copied_bytes, num_test = 4 << 30, NUM_TEST
    if options.small:
        options.num_rows, options.feature_dim, options.num_factors = 3, 10 * NUM_FIELDS, 8
        options.mini_batch_sizes, copied_bytes, num_test = [2], 1 << 20, 2

    _print("check", device, largest_difference=check(device))
    bandwidth = copy_bandwidth(device, copied_bytes)
    _print("copy", device, gb_per_second=round(bandwidth / 1e9, 1))
    rows = make_rows(options.num_rows, options.feature_dim, seed=1)
    test = make_rows(num_test, options.feature_dim, seed=2)
    for size in options.mini_batch_sizes:
        measure(rows, test, size, bandwidth, device, options)


def measure(
    rows: CSRBatch,
    test: CSRBatch,
    size: int,
    bandwidth: float,
    device: str,
    options: argparse.Namespace,
) -> None:
    """Print the lines of one size of mini-batches."""
    sizes = {
        "mini_batch_size": size,
        "num_factors": options.num_factors,
        "feature_dim": options.feature_dim,
    }
    described = sizes | {"num_rows": options.num_rows}
    common = sizes | {
        "predictor_type": "binary_classifier",
        "optimizer": options.optimizer,
        "epochs": NUM_EPOCHS,
        "linear_lr": LEARNING_RATE,
        "factors_lr": LEARNING_RATE,
    }
    chosen = parse_hyperparameters(common)
    epoch_s, loss = train_epochs(rows, test, chosen, device, profile=options.profile)
    rates = {}
    for name, count in zip(
        ("least_bytes", "gathered_bytes"), least_bytes(rows, chosen), strict=True
    ):
        rates[f"{name}_gb_per_second"] = round(count / epoch_s / 1e9, 3)
        rates[f"{name}_share_of_copy"] = round(count / epoch_s / bandwidth, 3)
    ours = rows.num_rows / epoch_s
    _print(
        "epoch", device, **described, optimizer=options.optimizer,
        rows_per_second=round(ours), log_loss=round(loss, 5), **rates,
    )  # fmt: skip
    theirs, loss = run_torch(rows, test, options.num_factors, size, device)
    _print(
        "torch", device, **described, rows_per_second=round(theirs), log_loss=round(loss, 5),
        this_kernel_is_times_as_fast=round(ours / theirs, 2),
    )  # fmt: skip
    weighted = parse_hyperparameters(common | _interaction("field_weighted", options.feature_dim))
    epoch_s, loss = train_epochs(rows, test, weighted, device, profile=options.profile)
    _print(
        "fields", device, **described, num_fields=NUM_FIELDS, optimizer=options.optimizer,
        rows_per_second=round(rows.num_rows / epoch_s), log_loss=round(loss, 5),
        times_as_fast_as_without=round(rows.num_rows / epoch_s / ours, 2),
    )  # fmt: skip


def _print(what: str, device: str, **values: object) -> None:
    import torch

    card = torch.cuda.get_device_name() if device == "cuda" else "Triton's interpreter"
    row = {"benchmark": "gpu", "what": what, **values, "card": card, "torch": torch.__version__}
    print(json.dumps(row | {"commit": commit()}), flush=True)


def _profile(work: Callable[[], object]) -> None:
    """Print how long the device spent on each program."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        work()
    print(profiler.key_averages().table(sort_by="self_device_time_total", row_limit=25))


def _has_card() -> bool:
    import torch

    return torch.cuda.is_available()


def _wait_for(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
