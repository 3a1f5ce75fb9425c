"""A ranker and the real program, given the same tables, leave the same model, bit for bit."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from table_jobs import CSV_TABLE, items
from training_tree import TrainingTree

from fm_algo import FMRanker, load_model

RATES = {"linear_lr": 0.05, "factors_lr": 0.05, "num_factors": 4, "mini_batch_size": 64}
SIDES = {"genres": {"set": "|"}, "price": "number"}
COUNTED = {"stars": "label", "times": "weight", "user": "category", "item": "category"}


def interactions(seed, num_rows=500):
    draw = np.random.default_rng(seed)
    users = draw.integers(0, 40, num_rows)
    chosen = (users + draw.integers(0, 6, num_rows)) % 20
    return pd.DataFrame(
        {
            "user": [f"u{user}" for user in users],
            "item": [f"i{item}" for item in chosen],
            "stars": draw.integers(-1, 6, num_rows),
            "times": draw.integers(0, 3, num_rows),
        }
    )


TRAIN, LATER = interactions(1), interactions(2)


def job(tree, columns, side, names, chosen):
    tree.hyperparameters(
        feature_dim=None,
        columns=json.dumps(columns),
        **{
            name: str(value)
            for name, value in {**RATES, "factors_init_sigma": 0.01, **chosen}.items()
        },
    )
    given = {"train": TRAIN[names], "validation": LATER[names], "items": side}
    for name, frame in given.items():
        tree.channel(name, {"a.csv": frame.to_csv(index=False).encode()}, CSV_TABLE)
    outcome = tree.train()
    assert outcome.code == 0, outcome.errors
    return outcome.lines, (tree.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize("loss", ["bpr", "warp"])
def test_the_rankers_model_is_the_jobs(loss, tmp_path):
    tree = TrainingTree(tmp_path / "ml", has_report=True)
    names = ["user", "item"]
    side = TRAIN[["item"]].drop_duplicates()
    chosen = {"loss": loss, "epochs": 5, "seed": 3, "keep_seen": True}
    columns = {"user": "category", "item": "category"}
    _, expected = job(tree, columns, side, names, chosen | {"optimizer": "rowwise_adagrad"})

    ranker = FMRanker(**RATES, **chosen).fit(TRAIN[names])

    ranker.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "model.safetensors").read_bytes() == expected
    loaded = load_model(tree.model)
    assert isinstance(loaded, FMRanker)
    assert loaded.recommend(["u1", "u7"])[0] == ranker.recommend(["u1", "u7"])[0]
    assert loaded.score(LATER[names]) == ranker.score(LATER[names])


def test_it_is_so_with_labels_weights_side_columns_and_early_stopping(tmp_path):
    tree = TrainingTree(tmp_path / "ml", has_report=True)
    names = [*COUNTED]
    side = pd.DataFrame(items())
    chosen = {
        "loss": "warp", "optimizer": "adagrad", "epochs": 60, "negative_sampling_power": 0.5,
        "early_stopping_patience": 3,
    }  # fmt: skip
    lines, expected = job(tree, COUNTED | SIDES, side, names, chosen)

    ranker = FMRanker(columns=COUNTED | SIDES, keep_seen=False, **RATES, **chosen)
    ranker.fit(pl.DataFrame(TRAIN[names]), eval_set=pl.DataFrame(LATER[names]), items=side)

    ranker.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "model.safetensors").read_bytes() == expected
    assert ranker.n_iter_ < 60
    epochs = {line.split("epoch=")[1].split(",")[0] for line in lines if "epoch=" in line}
    assert len(epochs) == ranker.n_iter_
    told = [float(line.rpartition(">=")[2]) for line in lines if " validation ndcg@10 <" in line]
    assert told[: ranker.n_iter_] == [epoch["validation_ndcg@10"] for epoch in ranker.history_]
