"""Jobs that learn a weight per pair of fields, and the servers of their models."""

import json
import re
import signal

import numpy as np
import pytest
from table_jobs import describe as describe_tables
from training_tree import TrainingTree, finish

from fm_algo.artifacts.artifact import load_manifest, load_model, load_stored_model
from fm_algo.artifacts.model_source import load_any_model
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

LIBFFM = "text/libffm"


def planted(seed, num_rows):
    """Rows whose pairs of fields count for 2, 0 and -1 times what their factors say."""
    random = np.random.default_rng(seed)
    R = np.array([[1, 2, 0], [2, 1, -1], [0, -1, 1]])
    V = np.random.default_rng(7).normal(size=(24, 2))
    chosen = np.stack([random.integers(0, 8, num_rows) + first for first in (0, 8, 16)], axis=1)
    labels = sum(
        R[f, g] * np.einsum("nk,nk->n", V[chosen[:, f]], V[chosen[:, g]])
        for f, g in ((0, 1), (0, 2), (1, 2))
    )
    return chosen, labels


def libffm(chosen, labels):
    return "".join(
        f"{label:.5f} " + " ".join(f"{f}:{i}:1" for f, i in enumerate(row)) + "\n"
        for row, label in zip(chosen.tolist(), labels.tolist(), strict=True)
    ).encode()


def libsvm(chosen, labels):
    return "".join(
        f"{label:.5f} " + " ".join(f"{i}:1" for i in row) + "\n"
        for row, label in zip(chosen.tolist(), labels.tolist(), strict=True)
    ).encode()


def describe(tree, write=libffm, content_type=LIBFFM, **changes):
    tree.hyperparameters(**{
        "feature_dim": "24", "num_factors": "2", "predictor_type": "regressor",
        "interaction": "field_weighted", "optimizer": "adagrad", "epochs": "30",
        "mini_batch_size": "50", "factors_lr": "0.1", "linear_lr": "0.1",
        "factors_init_sigma": "0.3", "num_threads": "2", "factors_wd": "0", "bias_wd": "0",
    } | changes)  # fmt: skip
    tree.channel("train", {"a": write(*planted(1, 1000))}, content_type)
    tree.channel("test", {"a": write(*planted(2, 200))}, content_type)


def rmse(outcome):
    (line,) = [line for line in outcome.lines if "test rmse <" in line]
    return float(line.rpartition("=")[2])


@pytest.fixture
def tree(tmp_path):
    return TrainingTree(tmp_path / "ml")


def test_planted_weights_are_found_where_an_ordinary_machine_finds_none(tree, tmp_path):
    describe(tree)
    outcome = tree.train()
    assert (outcome.code, outcome.errors) == (0, "")
    weighted = rmse(outcome)
    plain = TrainingTree(tmp_path / "plain")
    describe(plain, interaction="all")

    assert weighted < 0.5 * rmse(plain.train())
    R = load_model(tree.model).field_weights.R
    # Signs and lengths of the factors are free, so which pair counts nothing is what can be found.
    assert abs(R[0, 2]) < 0.1 * min(abs(R[0, 1]), abs(R[1, 2]))
    assert R.diagonal().tolist() == [1, 1, 1]
    assert load_manifest(tree.model).format_version == 4
    assert load_manifest(tree.model).fields == ("0", "1", "2")


def test_libffm_and_feature_fields_say_the_same(tree, tmp_path):
    describe(tree)
    other = TrainingTree(tmp_path / "numbered")
    describe(other, libsvm, "text/libsvm", feature_fields="[0, 8, 16]")
    for each in (tree, other):
        each.run()
    first, second = load_model(tree.model), load_model(other.model)
    assert first.field_weights.R.tobytes() == second.field_weights.R.tobytes()
    assert first.V.tobytes() == second.V.tobytes()


def test_a_stopped_job_goes_on_bit_for_bit(tree, tmp_path):
    whole = TrainingTree(tmp_path / "whole")
    describe(whole, epochs="200")
    whole.run()
    describe(tree, epochs="200")
    tree.config("checkpointconfig", {"LocalPath": str(tmp_path / "checkpoints")})
    process = tree.start()
    for line in process.stdout:
        if "epoch=3, train rmse" in line:
            process.send_signal(signal.SIGTERM)
            break
    assert finish(process).code == 0
    outcome = tree.train()
    assert outcome.code == 0
    assert any("going on from the checkpoint" in line for line in outcome.lines)
    first, second = load_model(whole.model), load_model(tree.model)
    assert first.field_weights.R.tobytes() == second.field_weights.R.tobytes()
    assert first.V.tobytes() == second.V.tobytes()


def test_a_job_may_start_from_an_earlier_model(tree, tmp_path):
    describe(tree)
    tree.run()
    content = {"model.safetensors": (tree.model / "model.safetensors").read_bytes()}
    later = TrainingTree(tmp_path / "later")
    describe(later, epochs="1", factors_lr="0", field_weights_lr="0", linear_lr="0")
    later.channel("model", content)
    later.run()
    R = load_model(tree.model).field_weights.R
    assert load_model(later.model).field_weights.R.tobytes() == R.tobytes()
    describe(later, interaction="all")
    with pytest.raises(UserError, match="interaction=field_weighted there, all here"):
        later.run()


def test_the_model_is_served(tree, launch, request):
    if "image" in request.node.callspec.id:
        pytest.skip("train is a program of this machine here")
    describe(tree, epochs="3")
    tree.run()
    chosen, labels = planted(3, 20)
    rows = CSRBatch(
        np.arange(0, 61, 3), chosen.reshape(-1).astype(np.int32), np.ones(60, np.float32), None, 24
    )
    expected = load_any_model(tree.model).score(rows)
    server = launch(tree.base, {})
    for body, content_type in ((libffm(chosen, labels), LIBFFM),
                               (libsvm(chosen, labels), "text/libsvm")):  # fmt: skip
        reply = server.invoke(body, Content_Type=content_type, Accept="application/json")
        scores = [each["score"] for each in json.loads(reply.body)["predictions"]]
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
    refused = server.invoke(b"1 2:0:1\n", Content_Type=LIBFFM)
    assert refused.status == 400
    assert "in the model, it is in field 0" in refused.reason


def test_the_columns_of_tables_are_fields(tree):
    describe_tables(tree, interaction="field_weighted", epochs="3")
    tree.run()
    stored = load_stored_model(tree.model)
    weights = stored.model.field_weights
    assert weights.space.fields == stored.tables.encoder.space.fields
    assert (weights.R != 1).any()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"optimizer": "mcmc"}, "interaction=field_weighted is learnt by gradients"),
        ({"interaction": "all", "feature_fields": "[0, 8]"}, "needs interaction=field_weighted"),
        ({"feature_fields": "[8, 0]"}, "feature_fields=[8, 0] is not a list"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_told_before_training(tree, changes, expected):
    describe(tree, **changes)
    with pytest.raises(UserError, match=re.escape(expected)):
        tree.run()


def test_rows_without_fields_are_told_of(tree):
    describe(tree, libsvm, "text/libsvm")
    with pytest.raises(UserError, match="must know the field of each feature: give feature_fields"):
        tree.run()


def test_two_hosts_are_told_of(tree):
    describe(tree)
    tree.config("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]})
    with pytest.raises(UserError, match="interaction=field_weighted trains on one host"):
        tree.run()


def test_a_test_channel_whose_fields_are_others_is_told(tree):
    describe(tree)
    tree.channel("test", {"a": b"1 1:0:1\n"}, LIBFFM)
    with pytest.raises(UserError, match="test channel, a, line 1: feature 0 is in field 1"):
        tree.run()


def test_an_earlier_release_does_not_misread_the_file(tree, monkeypatch):
    from fm_algo.artifacts import artifact

    describe(tree, epochs="1")
    tree.run()
    monkeypatch.setattr(artifact, "FORMAT_VERSION", 3)
    with pytest.raises(UserError, match="format_version 4; this release reads up to 3"):
        load_model(tree.model)
