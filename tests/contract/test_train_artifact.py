"""Training jobs that leave the built-in's artifact, for whoever reads that."""

import json
import signal

import numpy as np
import pytest
from host_trees import HostTrees
from training_tree import Rows, TrainingTree, finish

from fm_algo.artifacts.artifact import load_model, load_stored_model
from fm_algo.artifacts.builtin.artifact import (
    load_builtin_model,
    read_builtin_model,
    save_builtin_model,
)
from fm_algo.artifacts.model_source import load_any_model
from fm_algo.sparse import CSRBatch

ROWS = Rows.draw(1, 200)
LEFT = {
    "ours": ["model.safetensors"],
    "builtin": ["model_algo-1"],
    "both": ["model.safetensors", "model_algo-1"],
}


def described(tree, artifact, **changes):
    tree.hyperparameters(artifact=artifact, **changes)
    tree.channel("train", {"a.csv": ROWS.csv})
    return tree


def left(tree):
    return sorted(path.name for path in tree.model.iterdir())


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("w0", "w", "V")
    )


@pytest.fixture
def tree(tmp_path):
    return TrainingTree(tmp_path / "ml")


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The model of the job that leaves ours."""
    tree = described(TrainingTree(tmp_path_factory.mktemp("ours") / "ml"), "ours")
    tree.run()
    return load_model(tree.model)


@pytest.mark.parametrize("artifact", LEFT)
def test_a_job_leaves_what_it_was_asked_for_and_the_server_takes_it(artifact, tree, launch, ours):
    outcome = described(tree, artifact).train()

    assert (outcome.code, tree.failure) == (0, None)
    assert left(tree) == LEFT[artifact]
    assert same(load_any_model(tree.model), ours)
    server = launch(tree.base, {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"})
    body = json.dumps({"instances": [{"features": row.tolist()} for row in ROWS.features[:9]]})
    reply = server.invoke(body, Content_Type="application/json")
    scores = [answer["score"] for answer in json.loads(reply.body)["predictions"]]
    assert scores == pytest.approx(ours.score(CSRBatch.of(ROWS.features[:9])).tolist(), rel=1e-6)


def test_of_both_one_converted_is_the_other(tree, tmp_path):
    described(tree, "both").run()
    stored = load_stored_model(tree.model)

    converted = save_builtin_model(tmp_path, stored.model, stored.hyperparameters)

    written = (tree.model / "model_algo-1").read_bytes()
    assert converted.read_bytes() == written
    assert read_builtin_model(tree.model / "model_algo-1")[1]["artifact"] == "both"


@pytest.mark.parametrize("optimizer", ["rowwise_adagrad", "ftrl", "als", "mcmc"])
def test_every_optimizer_leaves_it(tree, optimizer):
    described(tree, "both", optimizer=optimizer, epochs="12").run()

    assert same(load_builtin_model(tree.model), load_model(tree.model))


def test_the_best_epochs_model_is_left(tree, tmp_path):
    def job(base, artifact):
        tree = TrainingTree(base)
        described(tree, artifact, epochs="9", linear_lr="2", early_stopping_patience="2")
        tree.channel("validation", {"a.csv": Rows.draw(2, 50).csv})
        tree.run()
        return tree

    one, other = job(tmp_path / "a", "ours"), job(tmp_path / "b", "builtin")

    assert left(other) == LEFT["builtin"]
    assert same(load_any_model(other.model), load_model(one.model))


@pytest.mark.parametrize("artifact", ["builtin", "both"])
def test_a_stopped_job_leaves_it_and_goes_on_from_its_checkpoint(tree, artifact, tmp_path):
    described(tree, artifact, epochs="100000000")
    (tree.base / "checkpoints").mkdir()
    process = tree.start()
    for line in process.stdout:
        if "epoch=2, train rmse" in line:
            break
    process.send_signal(signal.SIGTERM)
    outcome = finish(process)

    assert (outcome.code, outcome.errors) == (0, "")
    assert left(tree) == LEFT[artifact]
    stopped = load_builtin_model(tree.model)
    for path in tree.model.iterdir():
        path.unlink()
    described(tree, "ours", epochs="1")  # it has had more already
    tree.run()
    assert same(load_model(tree.model), stopped)


def test_a_job_starts_from_it(tree, tmp_path):
    described(tree, "builtin").run()
    again = TrainingTree(tmp_path / "again")
    described(again, "builtin", linear_lr="0", factors_lr="0", bias_lr="0")
    again.channel("model", {"model_algo-1": (tree.model / "model_algo-1").read_bytes()})

    again.run()

    assert same(load_any_model(again.model), load_any_model(tree.model))


@pytest.mark.hosts
@pytest.mark.parametrize("num_factors", ["3", "24"], ids=["by feature", "by factor"])
def test_hosts_leave_the_same_on_the_first_alone(tmp_path, num_factors):
    hosts = HostTrees(tmp_path, 2, lambda tree, _: described(tree, "both", num_factors=num_factors))

    outcomes = hosts.train()

    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert left(hosts.trees[0]) == LEFT["both"]
    assert left(hosts.trees[1]) == []
    model = load_builtin_model(hosts.trees[0].model)
    assert same(model, load_model(hosts.trees[0].model))
    assert model.V.any(axis=1).all()


@pytest.mark.hosts
def test_hosts_leave_the_built_ins_alone(tmp_path):
    hosts = HostTrees(tmp_path, 2, lambda tree, _: described(tree, "builtin"))

    assert [outcome.code for outcome in hosts.train()] == [0, 0]

    assert left(hosts.trees[0]) == LEFT["builtin"]
    assert left(hosts.trees[1]) == []


def test_samples_stay_in_ours_and_the_log_says_so(tree):
    described(tree, "both", optimizer="mcmc", epochs="20", posterior_samples="4")

    outcome = tree.train()

    assert outcome.code == 0
    assert any(
        line.endswith("model_algo-1, without what posterior_samples adds") for line in outcome.lines
    )
    model, plain = load_model(tree.model), load_builtin_model(tree.model)
    assert len(model.samples) == 4
    assert not plain.samples
    assert same(model, plain)


@pytest.mark.parametrize("artifact", ["builtin", "both"])
def test_weights_of_fields_become_factors_and_the_log_says_so(tree, artifact):
    weights = {"interaction": "field_weighted", "feature_fields": "[0, 4, 5]"}
    weighted = TrainingTree(tree.base.parent / "ours")
    described(weighted, "ours", **weights).run()

    outcome = described(tree, artifact, **weights).train()

    assert outcome.code == 0
    assert left(tree) == LEFT[artifact]
    said = "weights of pairs of fields became factors, "
    assert sum(said in line for line in outcome.lines) == 1
    model, plain = load_model(weighted.model), load_builtin_model(tree.model)
    assert model.field_weights is not None
    assert plain.field_weights is None
    assert plain.num_factors > model.num_factors
    rows = CSRBatch.of(ROWS.features[:9])
    np.testing.assert_allclose(plain.margin(rows), model.margin(rows), rtol=1e-5, atol=1e-5)


def test_a_table_stays_in_ours(tree):
    columns = {"rating": "label", "user": "category", "age": "number"}
    tree.hyperparameters(artifact="both", feature_dim=None, columns=json.dumps(columns))
    table = b"rating,user,age\n" + b"3,u1,40\n5,u2,30\n" * 30
    tree.channel("train", {"a.csv": table}, "text/csv;header=present")

    tree.run()

    assert load_stored_model(tree.model).tables is not None
    assert same(load_builtin_model(tree.model), load_model(tree.model))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"optimizer": "mcmc", "epochs": "20", "posterior_samples": "4"}, "posterior_samples"),
        ({"columns": '{"rating": "label", "user": "category"}', "feature_dim": None}, "columns"),
    ],
)
def test_what_the_built_ins_artifact_cannot_hold_is_said_before_training(tree, changes, name):
    outcome = described(tree, "builtin", **changes).train()

    assert outcome.code == 1
    assert tree.failure == (
        "ClientError: 1 problem in the hyperparameters: artifact=builtin holds w0, w and V alone, "
        f"not what {name} adds to a model: use both, whose model.safetensors holds it, or ours"
    )
