"""Jobs of tables on several hosts, and on several GPUs, which Triton's interpreter plays."""

import json

import numpy as np
import pytest
from host_trees import HostTrees
from table_jobs import COLUMNS, CSV_TABLE, HASHED, describe, model_bytes, ratings, to_csv
from test_train_gpus import ENVIRONMENT, INTERPRETED
from training_tree import TrainingTree, finish

from fm_algo.artifacts.artifact import load_stored_model

pytestmark = pytest.mark.hosts

ALIKE = {"shuffle": "false", "eps": "0.001", "epochs": "2"}


def assert_same_model(one, other):
    for name in ("w0", "w", "V"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-6, err_msg=name
        )


@pytest.mark.hosts
def test_two_hosts_make_the_model_of_one(tmp_path):
    def described(tree, size):
        tree.hyperparameters(
            feature_dim=None, columns=json.dumps(HASHED), mini_batch_size=str(size), **ALIKE
        )
        tree.channel("train", {"a": to_csv(ratings(1, 203))}, CSV_TABLE)
        tree.channel("test", {"a": to_csv(ratings(2, 50))}, CSV_TABLE)

    one = TrainingTree(tmp_path / "one")
    described(one, 24)
    one.run()
    hosts = HostTrees(tmp_path, 2, lambda tree, _: described(tree, 12))
    together = hosts.train()

    assert [(outcome.code, outcome.errors) for outcome in together] == [(0, "")] * 2, together
    alone, leading = (load_stored_model(each.model) for each in (one, hosts.trees[0]))
    assert_same_model(leading.model, alone.model)
    assert leading.tables.describe() == alone.tables.describe()


@pytest.mark.hosts
def test_files_may_be_divided_among_hosts(tmp_path):
    """Columns stand in another order in each, and one host has no file."""

    def described(tree, number):
        tree.hyperparameters(feature_dim=None, columns=json.dumps(HASHED), **ALIKE)
        table = ratings(number, 40)
        table = dict(reversed(table.items())) if number else table
        files = {"a": to_csv(table)} if number < 2 else {}
        tree.channel("train", files, CSV_TABLE, S3DistributionType="ShardedByS3Key")

    hosts = HostTrees(tmp_path, 3, described)
    together = hosts.train()

    assert [(outcome.code, outcome.errors) for outcome in together] == [(0, "")] * 3, together
    encoder = load_stored_model(hosts.trees[0].model).tables.encoder
    assert [block.name for block in encoder.blocks] == ["user", "item"]


@pytest.mark.hosts
def test_gpus_share_what_the_first_process_has_learnt(tmp_path):
    one, two = TrainingTree(tmp_path / "one"), TrainingTree(tmp_path / "two")
    earlier = TrainingTree(tmp_path / "earlier")
    describe(earlier, num_factors="4")
    earlier.channel("train", {"a": to_csv(ratings(7, 30))}, CSV_TABLE)
    earlier.run()
    for tree in (one, two):
        describe(tree, num_factors="4", device="cpu" if tree is one else "auto", **ALIKE)
        tree.channel("train", {"a": to_csv(ratings(1, 60))}, CSV_TABLE)
        files = {"model.safetensors": model_bytes(earlier)}
        tree.channel("model", files, "application/x-sagemaker-model")
    one.run()
    together = finish(two.start(program=(INTERPRETED, "2"), **ENVIRONMENT))

    assert (together.code, together.errors) == (0, ""), together
    assert ", 2 processes, here " in "\n".join(together.lines)
    alone, shared = (load_stored_model(tree.model) for tree in (one, two))
    assert_same_model(shared.model, alone.model)
    assert shared.tables.describe() == alone.tables.describe()
    assert set(shared.tables.encoder.block_of) == set(COLUMNS) - {"rating"}
