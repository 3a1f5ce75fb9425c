"""What surrounds a way of learning knows none of them: one it has never seen does all of it."""

import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from training_tree import Rows, TrainingTree, finish

from fm_algo.artifacts.artifact import load_model

TINY = str(Path(__file__).with_name("tiny_learner.py"))
ROWS = Rows.draw(1, 300)


@pytest.fixture
def tree(tmp_path):
    tree = TrainingTree(tmp_path / "ml")
    describe(tree)
    return tree


def describe(tree, **changes):
    given = {"optimizer": "sgd", "linear_lr": "0.2", "epochs": "30", "factors_init_sigma": "0"}
    tree.hyperparameters(**(given | changes))
    tree.channel("train", {"a.csv": ROWS[:200].csv})
    tree.channel("validation", {"a.csv": ROWS[200:250].csv})
    tree.channel("test", {"a.csv": ROWS[250:].csv})


def values_of(lines, what):
    """Values of a metric, one an epoch."""
    found = [line for line in lines if "epoch=" in line and f" {what} <" in line]
    return [float(line.rpartition("=")[2]) for line in found]


def epoch_lines(text):
    return {line.partition("] ")[2] for line in text.splitlines() if ", epoch=" in line}


def test_it_trains_and_tells_its_metrics(tree):
    outcome = finish(tree.start(program=(TINY,)))

    assert outcome.code == 0, outcome.errors
    errors = values_of(outcome.lines, "train rmse")[1::2]  # of the epoch, after that of its step
    assert len(errors) == 30
    assert errors == sorted(errors, reverse=True)
    assert len(values_of(outcome.lines, "validation rmse")) == 30
    tested = [line for line in outcome.lines if "test rmse <loss>=" in line]
    model = load_model(tree.model)
    features, labels = ROWS[250:].features, ROWS[250:].labels
    expected = np.sqrt(np.mean((features @ model.w + model.w0 - labels) ** 2))
    assert float(tested[0].rpartition("=")[2]) == pytest.approx(expected, rel=1e-5)
    assert not model.V.any()


def test_its_best_epoch_is_saved(tree):
    describe(tree, linear_lr="1.9", early_stopping_patience="3", early_stopping_tolerance="0.001")
    outcome = finish(tree.start(program=(TINY,)))

    assert outcome.code == 0, outcome.errors
    errors = values_of(outcome.lines, "validation rmse")
    final = [line for line in outcome.lines if "algo-1, validation rmse <loss>=" in line]
    best = errors[-4]
    assert len(errors) < 30
    assert all(error > best - 0.001 for error in errors[-3:])
    assert float(final[-1].rpartition("=")[2]) == best


def test_killed_again_and_again_it_ends_as_if_it_had_not_been(tree, tmp_path):
    whole = TrainingTree(tmp_path / "whole")
    describe(whole)
    expected = finish(whole.start(program=(TINY,)))
    (tree.base / "checkpoints").mkdir()
    moments = random.Random("kills of a tiny learner")  # noqa: S311 - not a secret
    said = ""
    for _ in range(5):
        process = tree.start(program=(TINY, "0.05"))
        for line in process.stdout:
            said += line
            if ", epoch=" in line:
                break
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        said += process.stdout.read()
        process.communicate()
    outcome = finish(tree.start(program=(TINY,)))

    assert outcome.code == 0, outcome.errors
    said += "\n".join(outcome.lines)
    assert "going on from the checkpoint" in said
    assert epoch_lines(said) == epoch_lines("\n".join(expected.lines))
    models = [(each.model / "model.safetensors").read_bytes() for each in (tree, whole)]
    assert models[0] == models[1]


def test_a_stop_saves_its_model(tree):
    (tree.base / "checkpoints").mkdir()
    process = tree.start(program=(TINY, "0.1"))
    for line in process.stdout:
        if "epoch=2, train" in line:
            break
    process.send_signal(signal.SIGTERM)
    said = process.stdout.read()

    assert finish(process).code == 0
    assert "stopped by SIGTERM" in said
    assert load_model(tree.model).w.any()
    assert finish(tree.start(program=(TINY,))).code == 0
