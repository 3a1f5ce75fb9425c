"""Jobs that learn by Gibbs sampling or alternating least squares."""

import re
import signal

import numpy as np
import pytest
from training_tree import Rows, TrainingTree, finish

from fm_algo.artifacts.artifact import load_model
from fm_algo.errors import UserError

ROWS = Rows.draw(1, 3000)


@pytest.fixture
def tree(tmp_path):
    tree = TrainingTree(tmp_path / "ml")
    describe(tree)
    return tree


def describe(tree, rows=ROWS, **changes):
    given = {"optimizer": "mcmc", "epochs": "60", "linear_lr": None, "factors_lr": None}
    tree.hyperparameters(**(given | changes))
    tree.channel("train", {"a.csv": rows[:2000].csv})
    tree.channel("validation", {"a.csv": rows[2000:2500].csv})
    tree.channel("test", {"a.csv": rows[2500:].csv})


def values_of(lines, what):
    """Values of a metric, one an epoch."""
    found = [line for line in lines if re.search(rf"epoch=\d+, {what} <", line)]
    return [float(line.rpartition("=")[2]) for line in found]


def value_at_test(lines, metric):
    (line,) = [line for line in lines if f"test {metric} <" in line]
    return float(line.rpartition("=")[2])


@pytest.mark.parametrize("optimizer", ["mcmc", "als"])
def test_a_model_of_products_is_found_without_a_rate(tree, optimizer):
    describe(tree, optimizer=optimizer, epochs=None)
    outcome = tree.train()

    assert outcome.code == 0, outcome.errors
    num_sweeps = {"mcmc": 150, "als": 10}[optimizer]
    assert len(values_of(outcome.lines, "train rmse")) == num_sweeps
    assert len(values_of(outcome.lines, "validation rmse")) == num_sweeps
    assert value_at_test(outcome.lines, "rmse") < {"mcmc": 0.01, "als": 0.1}[optimizer]
    assert load_model(tree.model).num_factors == 3


def test_the_test_channel_is_scored_by_the_model_that_is_saved(tree):
    outcome = tree.train()

    held_out = ROWS[2500:]
    model = load_model(tree.model)
    factors = held_out.features @ model.V
    squares = held_out.features**2 @ model.V**2
    margin = model.w0 + held_out.features @ model.w + (factors**2 - squares).sum(axis=1) / 2
    error = float(np.sqrt(np.mean((margin - held_out.labels) ** 2)))
    assert value_at_test(outcome.lines, "rmse") == pytest.approx(error, abs=1e-4)
    final = [line for line in outcome.lines if "algo-1, validation rmse <loss>=" in line]
    held_out = ROWS[2000:2500]
    factors = held_out.features @ model.V
    squares = held_out.features**2 @ model.V**2
    margin = model.w0 + held_out.features @ model.w + (factors**2 - squares).sum(axis=1) / 2
    error = float(np.sqrt(np.mean((margin - held_out.labels) ** 2)))
    assert float(final[-1].rpartition("=")[2]) == pytest.approx(error, abs=1e-4)


def test_samples_are_kept_and_score(tree):
    describe(tree, Rows.draw(1, 3000, classes=True), predictor_type="binary_classifier",
             posterior_samples="7")  # fmt: skip
    outcome = tree.train()

    assert outcome.code == 0, outcome.errors
    model = load_model(tree.model)
    assert len(model.samples) == 7
    assert not np.array_equal(model.samples[0].V, model.samples[6].V)
    assert value_at_test(outcome.lines, "binary_classification_accuracy") > 0.95


def test_samples_that_no_sweep_gives_are_warned_of(tree):
    describe(tree, epochs="8", posterior_samples="100")
    outcome = tree.train()

    assert not load_model(tree.model).samples
    (line,) = [line for line in outcome.lines if "WARNING" in line]
    assert line.endswith(
        "posterior_samples=100: 8 sweeps give 3 samples, because the first 5 do not count; fewer "
        "than 20 are not kept"
    )


def test_it_stops_early_by_the_mean(tree):
    noise = np.random.default_rng(3).normal(0, 3, 3000).astype(np.float32)
    rows = Rows(ROWS.features, ROWS.labels + noise)
    describe(
        tree, rows, epochs="400", early_stopping_patience="10", early_stopping_tolerance="0.01"
    )
    outcome = tree.train()

    assert outcome.code == 0, outcome.errors
    assert 10 < len(values_of(outcome.lines, "validation rmse")) < 400
    assert any("the model is that of epoch" in line for line in outcome.lines)


def test_a_job_may_start_from_an_earlier_model(tree, tmp_path):
    assert tree.train().code == 0
    errors = []
    for name in ("fresh", "later"):
        job = TrainingTree(tmp_path / name)
        describe(job, epochs="1")
        if name == "later":
            model = (tree.model / "model.safetensors").read_bytes()
            job.channel("model", {"model.safetensors": model})
        errors.append(values_of(job.train().lines, "train rmse")[0])

    fresh, later = errors
    assert later < fresh / 10


def test_a_stop_saves_the_mean_so_far(tree):
    describe(tree, epochs="1000000", posterior_samples="3")
    process = tree.start()
    for line in process.stdout:
        if "epoch=20, train" in line:
            break
    process.send_signal(signal.SIGTERM)
    said = process.stdout.read()

    assert finish(process).code == 0
    assert "stopped by SIGTERM: the model is that of the last mini-batch trained" in said
    model = load_model(tree.model)
    rows = ROWS[:2000]
    factors = rows.features @ model.V
    scores = (factors**2 - rows.features**2 @ model.V**2).sum(axis=1) / 2
    scores += rows.features @ model.w + model.w0
    assert np.sqrt(np.mean((scores - rows.labels) ** 2)) < 0.2


@pytest.mark.parametrize("num_threads", ["1", "2"])
def test_groups_of_features_may_be_given(tree, num_threads):
    describe(tree, feature_groups="[0, 3]", num_threads=num_threads)
    outcome = tree.train()

    assert outcome.code == 0, outcome.errors
    assert value_at_test(outcome.lines, "rmse") < 0.05


def test_it_says_how_much_memory_it_plans(tree):
    outcome = tree.train()

    assert any(re.search(r"optimizer=mcmc plans \d+ MiB", line) for line in outcome.lines)


def test_what_only_one_host_can_learn_is_refused_to_several(tree):
    tree.config("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]})
    with pytest.raises(UserError) as caught:
        tree.run()
    assert caught.value.message == (
        "optimizer=mcmc trains on one host, and this job has 2: use one instance, or another "
        "optimizer"
    )


def test_rows_beyond_memory_are_refused_with_what_it_takes(tree):
    describe(tree, memory_budget_mb="1", optimizer="als")
    tree.channel("train", {"a.csv": Rows.draw(1, 60_000).csv})
    with pytest.raises(UserError) as caught:
        tree.run()
    assert re.fullmatch(
        r"optimizer=als needs \d+ MiB with the training rows in memory, of \d+ MiB that there are, "
        "and memory_budget_mb must hold the rows: use a larger instance, fewer num_factors or "
        "posterior_samples, or another optimizer",
        caught.value.message,
    )


def test_pipe_mode_is_refused(tree):
    tree.channel("train", {}, TrainingInputMode="Pipe")
    with pytest.raises(UserError, match="needs the train channel in File or FastFile mode"):
        tree.run()


def test_hyperparameters_that_contradict_it_are_told_at_once(tree):
    describe(tree, optimizer="als", device="gpu", posterior_samples="3", factors_wd="0")
    with pytest.raises(UserError) as caught:
        tree.run()
    assert caught.value.message == (
        "3 problems in the hyperparameters: posterior_samples=3 needs optimizer=mcmc, not als; "
        "device=gpu: optimizer=als trains on processors, use auto or cpu; factors_wd=0.0 is not a "
        "finite number > 0, which optimizer=als needs"
    )


@pytest.mark.parametrize("optimizer", ["mcmc", "als"])
@pytest.mark.parametrize("factor", [1, 30, 1e4])
def test_the_size_of_values_does_not_matter(tree, optimizer, factor):
    scaled = Rows((ROWS.features * np.float32(factor)).astype(np.float32), ROWS.labels)
    describe(tree, scaled, optimizer=optimizer, epochs=None)
    outcome = tree.train()

    assert outcome.code == 0, outcome.errors
    assert value_at_test(outcome.lines, "rmse") < 0.1


def test_labels_that_are_all_alike_are_learnt(tree):
    rows = Rows(ROWS.features, np.full(3000, 0.1, np.float32))
    describe(tree, rows)
    outcome = tree.train()

    assert outcome.code == 0, outcome.errors
    assert value_at_test(outcome.lines, "rmse") < 0.05


def test_a_model_without_bias_has_none(tree):
    describe(tree, Rows(ROWS.features, ROWS.labels + 100), use_bias="false")
    assert tree.train().code == 0

    assert load_model(tree.model).w0[0] == 0


@pytest.mark.parametrize(("optimizer", "epochs"), [("mcmc", "3"), ("mcmc", "20"), ("als", "3")])
def test_the_model_has_the_factors_asked_for(tree, optimizer, epochs):
    describe(tree, optimizer=optimizer, epochs=epochs, num_factors="40")
    assert tree.train().code == 0

    assert load_model(tree.model).num_factors == 40
