import json
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fm_algo import cli, read_recordio, write_recordio
from fm_algo.artifacts.artifact import load_manifest, load_model
from fm_algo.artifacts.builtin.artifact import load_builtin_model, read_builtin_model

DATA = Path(__file__).parents[1] / "data" / "builtin"
PACKED = str(DATA / "binary-k8-d100" / "model.tar.gz")


def failure(capsys, *arguments):
    """Run a command that must fail; return its exit code and its one line."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    streams = capsys.readouterr()
    assert streams.out == ""
    return stop.value.code, streams.err


def run(*arguments):
    cli.main([str(argument) for argument in arguments])


def test_the_built_ins_model_becomes_ours_and_again_the_built_ins(mxnet_models, tmp_path):
    theirs, hyperparameters = read_builtin_model(mxnet_models / "binary-k8-d100")

    run("convert", PACKED, tmp_path / "a" / "ours")
    run("convert", tmp_path / "a" / "ours", tmp_path / "b" / "model.tar.gz", "--to", "builtin")
    run("convert", tmp_path / "b" / "model.tar.gz", tmp_path / "c", "--to", "builtin")

    ours = load_model(tmp_path / "a" / "ours")
    again = load_builtin_model(tmp_path / "c" / "model_algo-1")
    for name in ("w0", "w", "V"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes()
        assert getattr(again, name).tobytes() == getattr(theirs, name).tobytes()
    assert load_manifest(tmp_path / "a" / "ours").hyperparameters == hyperparameters
    assert read_builtin_model(tmp_path / "c")[1] == hyperparameters
    with tarfile.open(tmp_path / "b" / "model.tar.gz") as archive:
        assert archive.getnames() == ["model_algo-1"]


@pytest.mark.parametrize(
    ("layout", "files"),
    [
        ("ours", ["model.safetensors"]),
        ("builtin", ["model_algo-1"]),
        ("npy", ["V.npy", "w.npy", "w0.npy"]),
        ("libfm", ["model.libfm"]),
    ],
)
def test_each_layout_is_a_directory_or_an_archive(layout, files, tmp_path):
    run("convert", PACKED, tmp_path / "directory", "--to", layout)
    run("convert", PACKED, tmp_path / "archive.tar.gz", "--to", layout)

    assert sorted(path.name for path in (tmp_path / "directory").iterdir()) == files
    with tarfile.open(tmp_path / "archive.tar.gz") as archive:
        assert sorted(archive.getnames()) == files


def test_vectors_are_exported(tmp_path):
    run("export-vectors", PACKED, tmp_path, "--items", "60:100", "--users", "0:60")

    assert np.load(tmp_path / "items.npy").shape == (40, 9)
    assert np.load(tmp_path / "users.npy").shape == (60, 9)
    rows, labels = read_recordio(tmp_path / "items.pbr")
    assert rows.shape == (40, 9)
    assert labels is not None
    assert labels.tolist() == list(range(40))


def test_rows_are_scored_as_the_server_answers(tmp_path, capsys):
    case = json.loads((DATA / "binary-k8-d100" / "expected.json").read_text())
    rows = json.loads((DATA / "binary-k8-d100" / "rows.json").read_text())["rows"]
    matrix = np.zeros((len(rows), 100), np.float32)
    for row, entries in enumerate(rows):
        matrix[row, entries["keys"]] = entries["values"]
    write_recordio(tmp_path / "rows.pbr", matrix)

    run("score", PACKED, tmp_path / "rows.pbr")

    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["predicted_label"] for answer in answers] == [
        row["predicted_label"] for row in case["predictions"]
    ]
    assert [answer["score"] for answer in answers] == pytest.approx(
        [row["score"] for row in case["predictions"]], abs=case["tolerance"]
    )


def test_rows_of_another_type_are_scored(tmp_path, capsys):
    (tmp_path / "rows.libsvm").write_text("1 3:1 99:0.5\n0 1:2\n")

    run("score", PACKED, tmp_path / "rows.libsvm", "--content-type", "text/libsvm")

    assert len(capsys.readouterr().out.splitlines()) == 2


def test_what_cannot_be_done_is_said_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "rows").write_text("1 100:1\n")
    prog = "python -m fm_algo"

    for arguments, message in (
        (("convert", tmp_path, tmp_path / "b"), f"no model in {tmp_path}: expected a file "),
        (("convert", PACKED, tmp_path / "file"), f"{tmp_path}/file cannot be made a directory"),
        (("export-vectors", PACKED, tmp_path, "--items", "9:101"), "items 9:101 are not among"),
        (("score", PACKED, tmp_path / "none"), "[Errno 2] No such file or directory"),
        (("score", PACKED, tmp_path / "rows", "--content-type", "x/y"), "content type 'x/y' is"),
        (
            ("score", PACKED, tmp_path / "rows", "--content-type", "text/libsvm"),
            f"{tmp_path}/rows, line 1: ",
        ),
    ):
        code, line = failure(capsys, *arguments)
        assert code == 1
        assert line.startswith(f"{prog}: {message}")
        assert line.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("convert", PACKED),
        ("convert", PACKED, "x", "--to", "pickle"),
        ("export-vectors", PACKED, "x"),
        ("export-vectors", PACKED, "x", "--items", "5"),
        ("export-vectors", PACKED, "x", "--items", "-1:5"),
    ],
)
def test_a_command_that_is_not_right_exits_with_2(arguments, capsys):
    code, text = failure(capsys, *arguments)

    assert code == 2
    assert text.startswith("usage: python -m fm_algo")


@pytest.mark.parametrize("command", ["convert", "export-vectors", "score"])
def test_every_command_says_what_it_is_for(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])

    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "SRC is a directory with model.safetensors" in text


def test_too_little_memory_is_said_in_one_line(monkeypatch, capsys):
    def no_memory(_path):
        raise MemoryError

    monkeypatch.setattr(cli, "read_any_model", no_memory)

    assert failure(capsys, "convert", PACKED, "x") == (
        1,
        "python -m fm_algo: not enough memory for this model\n",
    )


def test_the_package_is_a_program_that_loads_no_more_than_it_needs(tmp_path):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['fm_algo', 'convert', {PACKED!r}, {str(tmp_path)!r}]\n"
        "runpy.run_module('fm_algo', run_name='__main__')\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (tmp_path / "model.safetensors").is_file()
    assert set(done.stdout.split()) & {"torch", "numba", "boto3", "scipy.sparse", "flask"} == set()


def test_the_commands_of_the_page_are_right(root, monkeypatch):
    page = (root / "docs" / "artifacts.md").read_text()
    commands = re.findall(r"^python -m fm_algo (.*)$", page, re.MULTILINE)
    ran = []
    for name in ("_convert", "_export_vectors", "_score"):
        monkeypatch.setattr(cli, name, ran.append)

    for command in commands:
        cli.main(shlex.split(command, comments=True))

    assert len(ran) == len(commands) >= 8
    assert any(options.target == "model.tar.gz" and options.to == "builtin" for options in ran[:3])
