"""Training jobs whose rows have weights: in JSON Lines, and by `positive_weight`."""

import json

import numpy as np
import pytest
from host_trees import HostTrees
from test_train_streams import EPOCHS, Platform, quality_lines
from training_tree import Rows, TrainingTree

from fm_algo.artifacts.artifact import load_model
from fm_algo.errors import UserError

ROWS = Rows.draw(1, 160, classes=True)
OTHERS = Rows.draw(2, 60, classes=True)
WEIGHTS = np.random.default_rng(3).choice([0, 1, 2, 3], 160)
OTHER_WEIGHTS = np.random.default_rng(4).choice([0, 1, 2, 3], 60)


def lines(rows, weights):
    """JSON Lines; a weight of 1 is left out."""
    texts = rows.jsonlines.decode().splitlines()
    instances = [
        json.loads(text) | ({} if weight == 1 else {"weight": weight})
        for text, weight in zip(texts, np.asarray(weights).tolist(), strict=True)
    ]
    return "".join(json.dumps(instance) + "\n" for instance in instances).encode()


def copies(rows, weights):
    """JSON Lines in which each row stands as many times as it weighs."""
    order = np.repeat(np.arange(len(weights)), weights)
    return Rows(rows.features[order], rows.labels[order]).jsonlines


def tree_of(path, channels, **changes):
    tree = TrainingTree(path)
    tree.hyperparameters(predictor_type="binary_classifier", epochs=str(EPOCHS), **changes)
    for name, content in channels.items():
        tree.channel(name, {"a.jsonl": content}, "application/jsonlines")
    return tree


def model_bytes(tree):
    model = load_model(tree.model)
    return b"".join(np.ascontiguousarray(part).tobytes() for part in (model.w0, model.w, model.V))


def assert_told_alike(told, expected):
    """The same metrics, up to rounding."""
    for line, other in zip(told, expected, strict=True):
        assert line.rpartition("=")[0] == other.rpartition("=")[0]
        value, wanted = (float(each.rpartition("=")[2]) for each in (line, other))
        assert value == pytest.approx(wanted, rel=1e-5)


def test_a_job_on_weighted_rows_is_that_on_copies(tmp_path):
    full_batch = {"mini_batch_size": "1000", "rescale_grad": "0.01", "optimizer": "sgd"}
    jobs = []
    for name, write in (("weighted", lines), ("copied", copies)):
        channels = {"train": write(ROWS, WEIGHTS), "test": write(OTHERS, OTHER_WEIGHTS)}
        tree = tree_of(tmp_path / name, channels, linear_lr="0.5", factors_lr="0.5", **full_batch)
        outcome = tree.train()
        assert outcome.code == 0, outcome.errors
        jobs.append((load_model(tree.model), quality_lines(outcome)))

    (weighted, told), (copied, expected) = jobs
    for name in ("w0", "w", "V"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(copied, name), atol=1e-6)
    assert_told_alike(told, expected)


def test_weights_of_validation_and_test_rows_count_in_their_metrics(tmp_path):
    told = []
    for name, write in (("weighted", lines), ("copied", copies)):
        others = write(OTHERS, OTHER_WEIGHTS)
        channels = {"train": ROWS.jsonlines, "validation": others, "test": others}
        outcome = tree_of(tmp_path / name, channels, early_stopping_patience="2").train()
        assert outcome.code == 0, outcome.errors
        told.append(quality_lines(outcome))

    assert_told_alike(*told)


@pytest.mark.parametrize("optimizer", ["adam", "als", "mcmc"])
def test_positive_weight_counts_in_training_alone(tmp_path, optimizer):
    others = {"validation": OTHERS.jsonlines, "test": OTHERS.jsonlines}
    by_name = tree_of(
        tmp_path / "by name", {"train": ROWS.jsonlines, **others}, optimizer=optimizer,
        positive_weight="4",
    )  # fmt: skip
    weighted = lines(ROWS, np.where(ROWS.labels == 1, 4, 1))
    by_row = tree_of(tmp_path / "by row", {"train": weighted, **others}, optimizer=optimizer)
    outcomes = [tree.train() for tree in (by_name, by_row)]

    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes[0].errors
    assert model_bytes(by_name) == model_bytes(by_row)
    assert quality_lines(outcomes[0]) == quality_lines(outcomes[1])


def test_weighted_rows_come_through_a_pipe_as_from_a_file(tmp_path):
    content = lines(ROWS, WEIGHTS)
    from_file = tree_of(tmp_path / "file", {"train": content}, shuffle="false")
    expected = from_file.train()
    from_pipe = tree_of(tmp_path / "pipe", {}, shuffle="false")
    (from_pipe.base / "input" / "data").mkdir(parents=True)
    directory = from_pipe.channel("train", {}, "application/jsonlines", TrainingInputMode="Pipe")
    directory.rmdir()
    Platform(from_pipe, "train", content, EPOCHS).start()
    got = from_pipe.train()

    assert (expected.code, got.code) == (0, 0), got.errors
    assert model_bytes(from_pipe) == model_bytes(from_file)
    assert quality_lines(got) == quality_lines(expected)


def test_a_job_goes_on_with_the_same_weights_and_not_with_others(tmp_path):
    whole = tree_of(tmp_path / "whole", {"train": lines(ROWS, WEIGHTS)})
    whole.run()
    tree = tree_of(tmp_path / "parts", {"train": lines(ROWS, WEIGHTS)})
    (tree.base / "checkpoints").mkdir()
    tree.hyperparameters(predictor_type="binary_classifier", epochs=str(EPOCHS - 1))
    tree.run()
    tree.hyperparameters(predictor_type="binary_classifier", epochs=str(EPOCHS))
    tree.run()
    assert model_bytes(tree) == model_bytes(whole)

    changed = np.where(WEIGHTS == 3, 2, WEIGHTS)
    tree.channel("train", {"a.jsonl": lines(ROWS, changed)}, "application/jsonlines")
    with pytest.raises(UserError, match="is of a job with other rows: train channel"):
        tree.run()


def test_validation_rows_that_are_split_off_keep_their_weights(tmp_path):
    """Weights of 2 on all rows change no metric; the steps are the same by `rescale_grad`."""
    told = []
    for weight, rescale in ((1, "0.1"), (2, "0.05")):
        channels = {"train": lines(ROWS, np.full(160, weight))}
        changes = {"validation_split": "0.3", "rescale_grad": rescale}
        outcome = tree_of(tmp_path / str(weight), channels, **changes).train()
        assert outcome.code == 0, outcome.errors
        told.append(quality_lines(outcome))

    assert told[0] == told[1]
    assert any("validation" in line for line in told[0])


@pytest.mark.hosts
def test_several_hosts_make_the_model_of_one_on_weighted_rows(tmp_path):
    def describe(tree, size):
        tree.hyperparameters(
            predictor_type="binary_classifier", mini_batch_size=str(size), shuffle="false",
            eps="0.001", positive_weight="2",
        )  # fmt: skip
        for name, content in (
            ("train", lines(ROWS, WEIGHTS)), ("test", lines(OTHERS, OTHER_WEIGHTS))
        ):  # fmt: skip
            tree.channel(name, {"a.jsonl": content}, "application/jsonlines")

    one = TrainingTree(tmp_path / "one")
    describe(one, 40)
    hosts = HostTrees(tmp_path, 2, lambda tree, _: describe(tree, 20))
    alone, together = one.train(), hosts.train()

    assert [outcome.code for outcome in together] == [0, 0], together
    model, expected = hosts.model(), load_model(one.model)
    for name in ("w0", "w", "V"):
        np.testing.assert_allclose(getattr(model, name), getattr(expected, name), atol=1e-6)
    tested = [
        [float(line.rpartition("=")[2]) for line in quality_lines(outcome) if ", test " in line]
        for outcome in (alone, *together)
    ]
    assert tested[0]
    assert tested[1] == tested[2] == pytest.approx(tested[0], rel=1e-5)
