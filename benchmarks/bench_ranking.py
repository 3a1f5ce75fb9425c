"""Rank what users of MovieLens-100k choose next: ours, LightFM and implicit, all tuned alike.

    python benchmarks/bench_ranking.py --peers-python PATH
    python benchmarks/bench_ranking.py --peers-python PATH --cold
    python benchmarks/bench_ranking.py --models ours-warp ours-bpr

A rating of 4 or 5 is a choice, and nothing else is known. Of users with 20 choices or more, the
last 10 by time are the test, the 5 before them the validation. All films are ranked that the user
has not chosen in the rows to learn from. `--cold` holds a random tenth of the films out instead,
whole, and ranks only these, by genres, age group, gender and occupation. A seed draws its own
films; which ones it draws matters more than the model, so compare seed by seed.

Every model has as many trials, drawn at random from RANGES by the same seed. The one with the best
validation ndcg@10 is trained on training and validation rows with each of the seeds, on 1 and on 2
threads. Each model gives one line of JSON: medians over the seeds of ndcg@10 and recall@10, on 1
thread, and the seconds of training, from rows in memory: by the clock, and of the processor on 1
thread, which other programs disturb less. PATH is an interpreter with lightfm-next and implicit.
`--trials-file` keeps what every trial reached.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench_train import commit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "local_test"))
from ranking_data import Split, judge, save_split, split_by_time, split_items  # noqa: E402

Settings = dict[str, Any]
Ranges = dict[str, tuple[type, float, float] | str]
"""Per setting its type, the least and the greatest value; or a word, which is no choice."""

_OURS: Ranges = {
    "num_factors": (int, 16, 128),
    "linear_rate": (float, 0.1, 2.0),
    "linear_wd": (float, 1e-7, 1e-3),
    "factors_init_sigma": (float, 0.003, 0.05),
    "mini_batch_size": (int, 100, 1000),
    "negative_sampling_power": (float, 0.02, 0.5),
}
_LIGHTFM: Ranges = {
    "no_components": (int, 16, 128),
    "learning_rate": (float, 0.005, 0.3),
    "item_alpha": (float, 1e-7, 1e-3),
    "user_alpha": (float, 1e-7, 1e-3),
    "epochs": (int, 5, 150),
}
_WARP: Ranges = {**_LIGHTFM, "max_sampled": (int, 3, 100)}
RANGES: dict[str, Ranges] = {
    "ours-warp": {
        **_OURS,
        "optimizer": "adam",
        "factors_lr": (float, 0.0007, 0.01),
        "factors_wd": (float, 1e-4, 5e-3),
        "num_negatives": (int, 3, 100),
        "epochs": (int, 4, 40),
    },
    "ours-bpr": {
        **_OURS,
        "optimizer": "adagrad",
        "factors_lr": (float, 0.02, 0.3),
        "factors_wd": (float, 1e-6, 1e-3),
        "num_negatives": (int, 1, 10),
        "epochs": (int, 5, 60),
    },
    "lightfm-warp": _WARP,
    "lightfm-bpr": _LIGHTFM,
    "implicit-bpr": {
        "factors": (int, 16, 128),
        "learning_rate": (float, 0.003, 0.3),
        "regularization": (float, 1e-4, 0.1),
        "iterations": (int, 20, 500),
    },
    "implicit-als": {
        "factors": (int, 16, 128),
        "regularization": (float, 0.01, 300.0),
        "alpha": (float, 0.5, 100.0),
        "iterations": (int, 3, 40),
    },
}
"""What settings are drawn from, evenly by logarithm. Ours were narrowed by the validation rows."""
COLD_RANGES: dict[str, Ranges] = {
    name: {**RANGES[name], "item_identity": (bool, 0, 1)}
    for name in ("ours-warp", "ours-bpr", "lightfm-warp", "lightfm-bpr")
}
"""Whether each film has a feature of its own too is tuned: it says nothing of new films."""

TUNING_DRAWS = 2
"""On how many draws of cold films settings are compared."""


def draw(ranges: Ranges, rng: np.random.Generator) -> Settings:
    """Draw one trial's settings."""
    settings: Settings = {}
    for name, range_ in ranges.items():
        if isinstance(range_, str):
            settings[name] = range_
            continue
        kind, least, most = range_
        if kind is bool:
            settings[name] = int(rng.integers(2))
            continue
        value = float(np.exp(rng.uniform(np.log(least), np.log(most))))
        settings[name] = round(value) if kind is int else float(f"{value:.3g}")
    return settings


def train(
    python: str, model: str, split: Split, runs: list[dict[str, Any]]
) -> tuple[list[dict[str, float]], str]:
    """Train in a process of their own, one run after the other, and judge all of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_split(folder / "split.npz", split)
        (folder / "runs.json").write_text(json.dumps({"model": model, "runs": runs}))
        is_ours = model.startswith("ours")
        program = ROOT / "benchmarks" / f"ranking_{'ours' if is_ours else 'peers'}.py"
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # noqa: TID251 - the program's
        subprocess.run(
            [sys.executable if is_ours else python, program, folder], env=environment, check=True
        )
        found = []
        for number in range(len(runs)):
            with np.load(folder / f"run-{number}.npz") as run:
                seconds = dict(
                    zip(("seconds", "processor_s"), run["seconds"].tolist(), strict=True)
                )
                found.append({**judge(run["scores"], split), **seconds})
        return found, (folder / "version").read_text()


def tune(model: str, splits: list[Split], options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings with the best mean ndcg@10 of splits, and what was found on the way."""
    rng = np.random.default_rng(0)
    ranges = (COLD_RANGES if options.cold else RANGES)[model]
    trials = [draw(ranges, rng) for _ in range(options.trials)]
    runs = [{"settings": settings, "seed": 0, "threads": 1} for settings in trials]
    by_split = [train(options.peers_python, model, split, runs)[0] for split in splits]
    found = [
        {name: statistics.mean(run[name] for run in trial) for name in trial[0]}
        for trial in zip(*by_split, strict=True)
    ]
    if options.trials_file:
        with options.trials_file.open("a") as file:
            for settings, trial in zip(trials, found, strict=True):
                file.write(json.dumps({"model": model, **settings, **trial}) + "\n")
    best = max(range(len(found)), key=lambda trial: found[trial]["ndcg@10"])
    return {
        "settings": trials[best],
        "validation": round(found[best]["ndcg@10"], 4),
        "trials": options.trials,
        "tuning_s": round(len(splits) * sum(trial["processor_s"] for trial in found), 1),
    }


def measure(
    model: str,
    tuned: dict[str, Any],
    split_of: Callable[[str, int], Split],
    options: argparse.Namespace,
) -> dict[str, object]:
    """Train a model with its best settings, and return its line."""
    tests: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for seed in options.seeds:
        for threads in tests:
            run = {"settings": tuned["settings"], "seed": seed, "threads": threads}
            again, version = train(options.peers_python, model, split_of("test", seed), [run])
            tests[threads] += again
    names = ("ndcg@10", "recall@10", "processor_s")
    return {
        "benchmark": "cold items" if options.cold else "ranking",
        "model": model,
        **{name: _median(tests[1], name) for name in names},
        "seconds": {threads: _median(done, "seconds") for threads, done in tests.items()},
        **tuned,
        "seeds": {
            seed: round(run["ndcg@10"], 4)
            for seed, run in zip(options.seeds, tests[1], strict=True)
        },
        "version": version,
    }


def _median(runs: list[dict[str, float]], name: str) -> float:
    return round(statistics.median(run[name] for run in runs), 4)


def processor() -> str:
    """Return the processor's model, and how many of them there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = {line.partition(": ")[2] for line in lines if line.startswith("model name")}
    return f"{os.cpu_count()} × {', '.join(names) or 'unknown'}"


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--peers-python", default=sys.executable, help="has lightfm-next and implicit"
    )
    parser.add_argument("--models", nargs="+", help="of RANGES, default all")
    parser.add_argument("--cold", action="store_true", help="rank films that nobody had chosen")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tuned", type=Path, help="lines of an earlier run: settings from there")
    parser.add_argument("--trials-file", type=Path, help="gets a line of JSON per trial")
    options = parser.parse_args()

    def split_of(stage: str, seed: int) -> Split:
        return split_items(stage, seed) if options.cold else split_by_time(stage)

    draws = range(TUNING_DRAWS if options.cold else 1)
    validations = [split_of("validation", seed) for seed in draws]
    known: dict[str, dict[str, Any]] = {}
    if options.tuned:
        kept = ("settings", "validation", "trials", "tuning_s")
        for text in options.tuned.read_text().splitlines():
            line = json.loads(text)
            known[line["model"]] = {name: line[name] for name in kept}
    for model in options.models or (COLD_RANGES if options.cold else RANGES):
        tuned = known.get(model) or tune(model, validations, options)
        line = measure(model, tuned, split_of, options)
        load = round(os.getloadavg()[0], 1)
        machine = {"processors": processor(), "load_average": load, "commit": commit()}
        print(json.dumps({**line, **machine}), flush=True)


if __name__ == "__main__":
    main()
