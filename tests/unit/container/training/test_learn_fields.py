import gzip
import logging
import re

import pytest

from container.settings import Paths
from container.training.channel import Channel
from container.training.channels import read_channel
from container.training.fields import learn_fields
from container.training.job import Resources, TrainingJob
from fm_algo.data.fields import KnownFields
from fm_algo.errors import UserError
from fm_algo.hyperparameters import parse_hyperparameters

LIBFFM = "text/libffm"


def job_of(*, hosts=("algo-1",), **described):
    channel = Channel(**{"content_type": LIBFFM} | described)
    return TrainingJob(
        hyperparameters=parse_hyperparameters(
            {"feature_dim": 5, "num_factors": 1, "predictor_type": "regressor"}
        ),
        channels={"train": channel, "test": Channel(content_type=LIBFFM)},
        resources=Resources(hosts=hosts),
    )


@pytest.fixture
def write(tmp_path):
    """Write a file of a channel."""

    def write_file(name, content, channel="train"):
        path = tmp_path / "input" / "data" / channel / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return write_file


@pytest.fixture
def learn(tmp_path):
    """Learn the fields of a job's features."""

    def learn_all(should_stop=lambda: False, **described):
        return learn_fields(Paths(tmp_path), job_of(**described), should_stop)

    return learn_all


def test_fields_are_learnt_from_all_files_of_the_train_channel(write, learn, caplog):
    write("a", b"1 7:0:1 9:3:2\n0\n")
    write("b.gz", gzip.compress(b"1 7:1:1 7:0:1\n"))
    write("a", b"1 1:4:1\n", channel="test")
    with caplog.at_level(logging.INFO, "fm_algo"):
        space = learn(distribution="ShardedByS3Key")
    assert space.fields == ("7", "9", "unseen")
    assert space.field_map().tolist() == [0, 0, 2, 1, 2]
    (line,) = caplog.messages
    assert re.fullmatch(
        r"learnt from libffm text: 2 fields with 3 features, feature_dim 5, 3 rows, \d+\.\d s", line
    )


def test_features_may_be_counted_from_1(write, learn):
    write("a", b"1 7:1:1 9:5:2\n")
    assert learn(content_type=f"{LIBFFM};index_base=1").field_map().tolist() == [0, 2, 2, 2, 1]


def test_a_feature_in_two_fields_is_told_with_its_file_and_line(write, learn):
    write("a", b"1 7:0:1 9:3:2\n")
    write("b", b"1 7:1:1\n1 9:1:2\n")
    with pytest.raises(UserError) as raised:
        learn()
    assert raised.value.message == (
        "train channel, b, line 2: feature 1 is in field 9; before, it was in field 7; a feature "
        "has one field: number the features of each field apart, or train with interaction=all, "
        "which ignores fields"
    )


def test_nothing_is_learnt_after_a_stop(write, learn):
    write("a", b"1 7:0:1\n")
    assert learn(should_stop=lambda: True) is None


@pytest.mark.parametrize(
    ("described", "problem"),
    [
        ({"input_mode": "Pipe"}, "TrainingInputMode is Pipe: "),
        ({"content_type": "text/csv"}, "ContentType is text/csv, which has no fields; text/libffm"),
        (
            {"distribution": "ShardedByS3Key", "hosts": ("algo-1", "algo-2")},
            "it is sharded over 2 hosts: ",
        ),
    ],
)
def test_where_fields_cannot_be_learnt_it_is_said_how_to_give_them(learn, described, problem):
    with pytest.raises(UserError) as raised:
        learn(**described)
    assert raised.value.message.startswith(f"train channel: {problem}")
    assert raised.value.message.endswith("; else say the field of each feature: feature_fields")


def test_rows_of_another_channel_are_compared_with_what_was_learnt(tmp_path, write, learn):
    write("a", b"1 7:0:1 9:3:2\n")
    write("a", b"1 7:0:1 5:4:1\n1 7:3:1\n", channel="test")
    known = KnownFields(learn())
    with pytest.raises(UserError) as raised:
        list(read_channel(Paths(tmp_path), job_of(), "test", fields=known))
    assert raised.value.message == (
        "test channel, a, line 2: feature 3 is in field 7; in the model, it is in field 9"
    )


def test_without_fields_to_compare_only_their_form_is_checked(tmp_path, write):
    write("a", b"1 7:0:1\n1 9:0:1\n")
    assert sum(rows.num_rows for rows in read_channel(Paths(tmp_path), job_of(), "train")) == 2
    write("a", b"1 x:0:1\n")
    with pytest.raises(UserError, match=r"^train channel, a, line 1: field x is not a number$"):
        list(read_channel(Paths(tmp_path), job_of(), "train"))
