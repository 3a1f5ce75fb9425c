"""local_test/: the data, the payloads and the scripts that show the image at work."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = ["train_local.sh", "serve_local.sh", "predict.sh"]
CONTENT_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/jsonlines",
    ".csv": "text/csv",
    ".libsvm": "text/libsvm",
    ".libffm": "text/libffm",
    ".pbr": "application/x-recordio-protobuf",
}


def made_files(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("test_dir/input/data/*/*"), *folder.glob("payloads/*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """The tree of a finished job on test_dir, and the job's log."""
    base = tmp_path_factory.mktemp("trained")
    shutil.copytree(root / "local_test/test_dir/input", base / "input")
    done = subprocess.run(
        ["env", f"SAGEMAKER_BASE_DIR={base}", sys.executable, root / "train"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return base, done.stdout


def test_the_data_is_what_the_generator_makes(root, tmp_path):
    subprocess.run([sys.executable, root / "local_test/make_data.py", tmp_path], check=True)

    kept, made = made_files(root / "local_test"), made_files(tmp_path)
    assert sorted(made) == sorted(kept)
    assert [name for name in kept if made[name] != kept[name]] == []
    assert sum(map(len, kept.values())) < 300_000


def test_training_finds_the_planted_model(trained):
    _, log = trained

    (rmse,) = re.findall(r"test rmse <loss>=(\S+)", log)
    assert 0.09 < float(rmse) < 0.13, "the noise in the labels is 0.1"


def test_the_metric_definitions_in_the_docs_find_every_value(root, trained):
    _, log = trained
    page = (root / "docs" / "compatibility.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, list[dict[str, str]]] = {}
    exec(example, names)  # noqa: S102 - the page's own example

    found = {
        definition["Name"]: re.findall(definition["Regex"], log)
        for definition in names["metric_definitions"]
    }

    assert len(found) == 32, "the built-in's 26 and six of ours"
    assert float(found["train:progress"][-1]) == 100
    for metric in ("rmse", "mse", "absolute_loss"):
        assert len(found[f"test:{metric}"]) == 1
        assert found[f"train:{metric}"] == found[f"train:{metric}:epoch"][-1:]
        assert len(found[f"train:{metric}:epoch"]) == len(found[f"train:{metric}:batch"])


def test_the_same_rows_get_the_same_scores_in_every_format(root, trained, tmp_path, launch):
    base, _ = trained
    shutil.copytree(base / "model", tmp_path / "ml" / "model")
    server = launch(tmp_path / "ml", {})

    scores = {}
    for payload in (root / "local_test" / "payloads").iterdir():
        reply = server.invoke(
            payload.read_bytes(),
            Content_Type=CONTENT_TYPES[payload.suffix],
            Accept="application/json",
        )
        assert reply.status == 200
        scores[payload.name] = [row["score"] for row in json.loads(reply.body)["predictions"]]

    assert len(scores) == 8
    assert all(len(answer) == 3 for answer in scores.values())
    assert all(answer == scores["sparse.pbr"] for answer in scores.values())


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("arguments", [[], ["--help"], ["1", "2", "3", "4"]], ids=" ".join)
def test_a_script_called_wrongly_tells_how(root, script, arguments):
    done = subprocess.run(
        [root / "local_test" / script, *arguments], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert script in done.stderr


def test_the_scripts_stay_small(root):
    lines = [(root / "local_test" / script).read_text().splitlines() for script in SCRIPTS]

    assert sum(map(len, lines)) <= 80
    assert all(os.access(root / "local_test" / script, os.X_OK) for script in SCRIPTS)


@pytest.fixture
def recording_docker(tmp_path, monkeypatch):
    """A program in docker's place that keeps its arguments and what the channels hold."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        f'printf "%s\\n" "$@" > "{tmp_path}/arguments"\n'
        'for word; do case $word in *:/opt/ml/input/data/*) cat "${word%%:*}"/*;; esac; done '
        f'> "{tmp_path}/data"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")  # noqa: TID251 - PATH
    monkeypatch.setenv("PYTHON", sys.executable)
    return tmp_path


def test_channels_may_come_from_s3(root, recording_docker, s3_bucket):
    s3_bucket.put("train/a.csv", b"1,0\n")
    s3_bucket.put("test/b.csv", b"0,1\n")
    script = shutil.copytree(root / "local_test", recording_docker / "copy" / "local_test")
    (recording_docker / "copy" / "fm_algo").symlink_to(root / "fm_algo")
    command = [script / "train_local.sh", "image", s3_bucket.url("train"), s3_bucket.url("test")]
    subprocess.run(command, check=True)
    arguments = (recording_docker / "arguments").read_text().splitlines()
    assert arguments[-2:] == ["image", "train"]
    assert (recording_docker / "data").read_bytes() == b"1,0\n0,1\n"
