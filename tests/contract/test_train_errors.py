"""Training jobs that cannot work: what is said, where, and what is left."""

import gzip
import json
from pathlib import Path

import pytest
from training_tree import FEATURE_DIM, Rows, TrainingTree, finish

from fm_algo.errors import PlatformError, UserError

ROWS = Rows.draw(1, 50)
CLASSES = Rows.draw(2, 50, classes=True)
GOOD = b"1,1,0,0,0,0,0\n"


@pytest.fixture
def tree(tmp_path):
    return TrainingTree(tmp_path / "ml")


def check_failure(tree, outcome, kind):
    """Check what holds for every failed job; return the reason."""
    assert outcome.code == 1
    assert not tree.model.is_dir() or list(tree.model.iterdir()) == []
    assert len(tree.failure) <= 1024
    assert tree.failure.startswith(f"{kind}: ")
    assert "\n" not in tree.failure
    assert any(tree.failure.removeprefix(f"{kind}: ")[:900] in line for line in outcome.lines)
    assert not any("#quality_metric" in line and "nan" in line for line in outcome.lines)
    return tree.failure


def test_every_mistake_in_the_hyperparameters_is_told_at_once(tree):
    tree.channel("train", {"a.csv": ROWS.csv})
    wrong = {f"mini_batch_sïze_{number:02}": "1" for number in range(30)}
    tree.hyperparameters(epochs="0", num_factors=None, use_bias="perhaps", factor_lr="1", **wrong)
    outcome = tree.train()

    reason = check_failure(tree, outcome, "ClientError")
    assert reason.startswith("ClientError: 34 problems in the hyperparameters: epochs='0' is not a")
    assert len(reason) == 1024
    (line,) = outcome.lines
    assert " ERROR " in line
    for mistake in (
        "use_bias='perhaps' is not true or false",
        "factor_lr is not a hyperparameter; did you mean factors_lr?",
        "mini_batch_sïze_29 is not a hyperparameter; did you mean mini_batch_size?",
        "num_factors is required: a whole number >= 1",
    ):
        assert mistake in line
    assert outcome.errors == ""


def test_a_truncated_record_is_told_with_its_place_and_without_a_traceback(tree, tmp_path):
    content = ROWS.recordio(tmp_path, sparse=True)
    offset = len(Rows.draw(1, 49).recordio(tmp_path, sparse=True))
    tree.channel("train", {"good.pbr": content, "part/wrong.pbr": content[:-5]}, None)
    outcome = tree.train()

    reason = check_failure(tree, outcome, "ClientError")
    assert reason.startswith(
        f"ClientError: train channel, part/wrong.pbr, record 49 (byte offset {offset}): truncated: "
    )
    assert len(outcome.lines) == 1
    assert outcome.errors == ""


def test_a_job_that_diverges_says_where_and_what_to_try(tree):
    tree.channel("train", {"a.csv": ROWS.csv})
    tree.hyperparameters(linear_lr="1e38", shuffle="false")
    outcome = tree.train()

    reason = check_failure(tree, outcome, "AlgorithmError")
    assert reason == (
        "AlgorithmError: training diverged in epoch 0, mini-batch 1: the loss is inf; try lower "
        "bias_lr, linear_lr and factors_lr, scale the feature values to about 1, or set "
        "clip_gradient"
    )


def test_a_model_directory_that_cannot_be_written_is_the_platforms_fault(tree):
    tree.channel("train", {"a.csv": ROWS.csv})
    tree.model.write_text("in the way")
    outcome = tree.train()

    reason = check_failure(tree, outcome, "InternalServerError")
    assert reason.startswith(f"InternalServerError: the model directory {tree.model} cannot be ma")
    assert not any("#quality_metric" in line for line in outcome.lines)  # told before training


def test_a_wrong_environment_is_told_like_all_else(tree):
    tree.channel("train", {"a.csv": ROWS.csv})
    outcome = tree.train(SAGEMAKER_CONTAINER_LOG_LEVEL="loud")

    reason = check_failure(tree, outcome, "ClientError")
    assert reason.startswith(
        "ClientError: environment variable SAGEMAKER_CONTAINER_LOG_LEVEL is 'loud', allowed: "
    )


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (
            "ZeroDivisionError('a bug')",
            "AlgorithmError: internal error: a bug (caused by ZeroDivisionError)",
        ),
        ("MemoryError('8 TiB')", "ClientError: out of memory: use a larger instance (8 TiB)"),
    ],
)
def test_whatever_goes_wrong_is_told(tree, raised, reason):
    """Also a mistake of ours, which no input can be made to show."""
    code = f"""
from container.training import train_job
def run(*_):
    raise {raised}
train_job.run = run
train_job.main()
"""
    outcome = finish(tree.start(program=("-c", code)))

    assert outcome.code == 1
    assert tree.failure == reason
    assert any("Traceback" in line for line in outcome.lines)  # for who mends it


def test_a_failure_that_cannot_be_written_is_still_a_failure(tree):
    (tree.base / "output").write_text("in the way")
    outcome = tree.train()

    assert outcome.code == 1
    assert "the train channel is missing" in outcome.lines[0]
    assert "output/failure could not be written: " in outcome.lines[1]


def refused(tree, kind=UserError):
    """Run the job, which must fail with nothing written; return the message."""
    with pytest.raises(kind) as caught:
        tree.run()
    assert "\n" not in caught.value.message
    assert not (tree.model / "model.safetensors").exists()
    return caught.value.message


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine may have a GPU")
def test_a_gpu_that_is_not_there(tree):
    tree.channel("train", {"a.csv": GOOD})
    tree.hyperparameters(device="gpu")

    assert refused(tree) == (
        "device=gpu: this machine has no NVIDIA GPU; use a GPU instance, or device=auto or cpu"
    )


def test_several_hosts_without_torch(tree, tmp_path):
    """As in an image that was built with TORCH=none."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")
    tree.config("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]})
    tree.channel("train", {"a.csv": ROWS.csv})

    reason = check_failure(tree, tree.train(PYTHONPATH=str(tmp_path)), "ClientError")

    assert reason == (
        "ClientError: 2 hosts exchange their numbers by torch, which this image lacks: build it "
        "without TORCH=none, or use one instance"
    )
    tree.config("resourceconfig", {"current_host": "algo-1", "hosts": ["algo-1"]})
    assert tree.train(PYTHONPATH=str(tmp_path)).code == 0


def test_a_missing_train_channel(tree):
    tree.channel("test", {"a.csv": GOOD})

    assert refused(tree) == "the train channel is missing; channels found: test"


@pytest.mark.parametrize(
    "files", [{}, {"a": b"", "b/c": b""}, {"_SUCCESS": b"x"}], ids=["none", "empty", "hidden"]
)
@pytest.mark.parametrize("channel", ["train", "test", "validation"])
def test_an_empty_channel(tree, channel, files):
    tree.channel("train", {"a.csv": GOOD})
    directory = tree.channel(channel)
    for path in directory.iterdir():
        path.unlink()
    tree.channel(channel, files)

    assert refused(tree).startswith(f"{channel} channel is empty: no rows in 0 files below ")


def test_a_channel_announced_but_not_there(tree):
    tree.channel("train").rmdir()

    assert refused(tree, PlatformError).startswith("train channel: /")


def test_an_unknown_channel(tree):
    tree.channel("train", {"a.csv": GOOD})
    tree.channel("valid", {"a.csv": GOOD})

    assert refused(tree).startswith("unknown channel valid; allowed are train (required), test, ")


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"TrainingInputMode": "Turbo"}, "train channel: TrainingInputMode is Turbo; "),
        ({"RecordWrapperType": "RecordIO"}, "train channel: RecordWrapperType is RecordIO; FM da"),
    ],
)
def test_an_input_mode_that_is_not_read(tree, described, message):
    tree.channel("train", {"a.csv": GOOD}, **described)

    assert refused(tree).startswith(message)


def test_a_host_that_is_none_of_the_job(tree):
    tree.channel("train", {"a.csv": GOOD})
    tree.config("resourceconfig", {"current_host": "algo-3", "hosts": ["algo-1", "algo-2"]})

    assert refused(tree).endswith("current_host is algo-3, allowed: one of hosts, algo-1, algo-2")


@pytest.mark.parametrize("name", ["hyperparameters", "inputdataconfig", "resourceconfig"])
def test_malformed_json(tree, name):
    tree.channel("train", {"a.csv": GOOD})
    tree.config(name, b'{"train": {')

    assert f"/input/config/{name}.json is not what the platform writes: " in refused(tree)


def csv(*fields):
    return GOOD + ",".join(fields).encode() + b"\n"


WIDE = ["0"] * FEATURE_DIM
JSON_ROW = {"label": 1, "features": {"keys": [FEATURE_DIM], "values": [1]}}

# Content type, what stands in the file, what is said after "train channel, part/wrong, ".
WRONG_ROWS = {
    "csv, too narrow": ("text/csv", csv("1", "2"), "line 2: 2 columns, expected 7: 1 label"),
    "csv, too wide": ("text/csv", csv("1", *WIDE, "2"), "line 2: 8 columns, expected 7"),
    "csv, nan value": ("text/csv", csv("1", "nan", *WIDE[1:]), "line 2: column 2: value nan of "),
    "csv, inf value": ("text/csv", csv("1", "inf", *WIDE[1:]), "line 2: column 2: value inf of "),
    "csv, nan label": ("text/csv", csv("NaN", *WIDE), "line 2: column 1: label NaN is"),
    "csv, no number": ("text/csv", csv("1", "x", *WIDE[1:]), "line 2: column 2: value x of feat"),
    "csv, header": ("text/csv", b"y,a,b,c,d,e,f\n" + GOOD, "line 1: column 1: label y is "),
    "csv, no label": ("text/csv;label_size=0", GOOD, "text/csv;label_size=0 has no labels; "),
    "libsvm, index": ("text/libsvm", b"1 0:1\n1 6:1\n", "line 2: feature 6 is outside [0, 6)"),
    "libsvm, nan": ("text/libsvm", b"1 0:nan\n", "line 1: "),
    "libffm, index": ("text/libffm", b"1 0:0:1\n1 0:6:1\n", "line 2: feature 6 is outside [0, 6)"),
    "libffm, field": ("text/libffm", b"1 user:0:1\n", "line 1: field user is not a number"),
    "libffm, is libsvm": ("text/libffm", b"1 0:1\n", "line 1: 0:1 has one colon, expected field:"),
    "json lines, index": (
        "application/jsonlines",
        json.dumps(JSON_ROW).encode(),
        "line 1: feature 6 is outside [0, 6), the range feature_dim allows",
    ),
    "json lines, no label": ("application/jsonlines", b'{"features": [0,0,0,0,0,1]}', "line 1: "),
    "recordio, garbage": (None, b"garbage\n" * 9, "record 0 (byte offset 0): begins with b'garb',"),
    "recordio, is csv": (None, GOOD, "record 0 (byte offset 0): begins with b'1,1,', "),
    "unknown type": ("image/png", GOOD, "content type 'image/png' is not supported, allowed: app"),
    "one json object": ("application/json", b"{}", "content type 'application/json' is not suppo"),
}


@pytest.mark.parametrize(
    ("content_type", "content", "message"), WRONG_ROWS.values(), ids=list(WRONG_ROWS)
)
def test_a_wrong_row(tree, content_type, content, message):
    tree.channel("train", {"part/wrong": content}, content_type)

    assert refused(tree).startswith(f"train channel, part/wrong, {message}")


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_records_wider_than_feature_dim(tree, tmp_path, sparse):
    tree.hyperparameters(feature_dim=str(FEATURE_DIM - 1))
    tree.channel("train", {"a.pbr": ROWS.recordio(tmp_path, sparse=sparse)}, None)

    message = refused(tree)
    assert message.startswith("train channel, a.pbr, record ")
    assert f"feature {FEATURE_DIM - 1} is outside [0, " in message if sparse else "6" in message


def test_a_mistake_in_any_channel_is_found_before_training(tree):
    tree.channel("train", {"a.csv": ROWS.csv})
    tree.channel("validation", {"a.csv": ROWS.csv})
    tree.channel("test", {"a.csv": csv("1", "2")})

    assert refused(tree).startswith("test channel, a.csv, line 2: 2 columns")


def test_a_label_that_is_no_class(tree):
    tree.hyperparameters(predictor_type="binary_classifier")
    tree.channel("train", {"a.csv": CLASSES.csv, "b.csv": CLASSES.csv + b"3,0,0,0,0,0,0\n"})

    assert refused(tree) == (
        "train channel, b.csv, record 50: label 3 is not 0 or 1, the labels of a binary_classifier"
    )


@pytest.mark.parametrize("cut", [-1, -12, 20, 2])
def test_damaged_gzip(tree, cut):
    tree.channel("train", {"a.csv.gz": gzip.compress(ROWS.csv)[:cut]})

    assert refused(tree).startswith("train channel, a.csv.gz: the gzip data is damaged: ")


def test_a_model_that_does_not_fit_in_memory(tree):
    tree.channel("train", {"a": b"1 0:1\n"}, "text/libsvm")
    tree.hyperparameters(feature_dim=str(2**31 - 1), num_factors="1000000")

    with pytest.raises(MemoryError):
        tree.run()


def test_a_configuration_file_that_cannot_be_read_is_the_platforms_fault(tree):
    tree.channel("train", {"a.csv": GOOD})
    path = tree.base / "input" / "config" / "hyperparameters.json"
    path.unlink()
    path.mkdir()

    assert refused(tree, PlatformError).startswith(f"{path} cannot be read: ")
