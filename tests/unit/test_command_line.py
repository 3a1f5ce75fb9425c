import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fm_algo import read_recordio, write_recordio
from fm_algo.answers.uncertainty import score_uncertainty
from fm_algo.artifacts.artifact import load_manifest, load_model, save_model
from fm_algo.artifacts.builtin.artifact import load_builtin_model, read_builtin_model
from fm_algo.cli import (
    convert,
    explain,
    export_vectors,
    inspect,
    program,
    recommend,
    score,
    similar,
)
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

DATA = Path(__file__).parents[1] / "data" / "builtin"
PACKED = str(DATA / "binary-k8-d100" / "model.tar.gz")


def failure(capsys, *arguments):
    """Run a command that must fail; return its exit code and its one line."""
    with pytest.raises(SystemExit) as stop:
        program.main([str(argument) for argument in arguments])
    streams = capsys.readouterr()
    assert streams.out == ""
    return stop.value.code, streams.err


def run(*arguments):
    program.main([str(argument) for argument in arguments])


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

    answers = capsys.readouterr().out
    assert len(answers.splitlines()) == 2
    (tmp_path / "rows.libffm").write_text("1 0:3:1 7:99:0.5\n0 0:1:2\n")
    run("score", PACKED, tmp_path / "rows.libffm", "--content-type", "text/libffm")
    assert capsys.readouterr().out == answers


@pytest.fixture
def sampled(tmp_path):
    """A model with samples of another width, and a file of its rows."""
    random = np.random.default_rng(1)
    models = [
        FMModel(
            "binary_classifier",
            *(random.normal(size=shape).astype(np.float32) for shape in (1, 4, (4, num_factors))),
        )
        for num_factors in (2, 3, 3, 3)
    ]
    model = dataclasses.replace(models[0], samples=tuple(models[1:]))
    (tmp_path / "sampled").mkdir()
    save_model(tmp_path / "sampled", model, {"epochs": 3})
    (tmp_path / "rows.csv").write_text("1,0,2,0\n0,0,0,0\n0,1,1,-1\n")
    return model


def test_rows_are_scored_with_their_uncertainty(sampled, tmp_path, capsys):
    command = ("score", tmp_path / "sampled", tmp_path / "rows.csv")
    types = ("--content-type", "text/csv;label_size=0")

    run(*command, *types)
    plain = capsys.readouterr().out.splitlines()
    run(*command, *types, "--uncertainty")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    rows = CSRBatch.of(np.float32([[1, 0, 2, 0], [0, 0, 0, 0], [0, 1, 1, -1]]))
    known = score_uncertainty(sampled, rows)
    assert [row.pop("score_std") for row in told] == known.score_std.tolist()
    intervals = np.stack([known.low, known.high], axis=1).tolist()
    assert [row.pop("score_interval") for row in told] == intervals
    assert told == [json.loads(line) for line in plain]
    scores = [row["score"] for row in told]
    assert scores == pytest.approx(sampled.score(rows).tolist(), rel=1e-14)


def test_a_model_without_samples_says_what_its_uncertainty_needs(sampled, tmp_path, capsys):
    save_model(tmp_path, dataclasses.replace(sampled, samples=()), {})

    code, line = failure(capsys, "score", tmp_path, tmp_path / "none", "--uncertainty")

    assert (code, line.count("\n")) == (1, 1)
    assert line.startswith("python -m fm_algo: the model holds 0 posterior samples, uncertainty ")
    assert "posterior_samples" in line


@pytest.mark.usefixtures("sampled")
def test_samples_stay_where_the_layout_is_ours(tmp_path, capsys):
    file = tmp_path / "sampled" / "model.safetensors"
    run("convert", tmp_path / "sampled", tmp_path / "packed.tar.gz")
    run("convert", tmp_path / "packed.tar.gz", tmp_path / "again")

    assert (tmp_path / "again" / "model.safetensors").read_bytes() == file.read_bytes()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "command",
    [
        "convert sampled new --to builtin",
        "convert sampled new --to npy",
        "convert sampled new.tar.gz --to libfm",
        "export-vectors sampled new --items 1:3",
    ],
)
def test_a_layout_without_samples_is_said_to_have_none(
    sampled, command, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)

    run(*command.split())

    assert capsys.readouterr().err == (
        "python -m fm_algo: the layout holds no samples: scores will be those of the single model, "
        "not the mean of its 3 samples\n"
    )
    if command.endswith("builtin"):
        loaded = load_builtin_model(tmp_path / "new" / "model_algo-1")
        assert loaded.V.tobytes() == sampled.V.tobytes()


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


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Work in a directory that has one of everything that is no model and no rows."""
    monkeypatch.chdir(tmp_path)
    run("convert", PACKED, "good")
    Path("text").write_text("hello\n")
    Path("empty").touch()
    Path("directory").mkdir()
    Path("loop").symlink_to("loop")
    Path("cut.tar.gz").write_bytes(Path(PACKED).read_bytes()[:500])
    Path("cut").mkdir()
    Path("cut/model.safetensors").write_bytes(Path("good/model.safetensors").read_bytes()[:-1])
    Path("rows").write_text("1 3:1\n")


LONG = "x" * 300


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("convert none new", "no model in none: expected a file model.safetensors, or"),
        ("convert directory new", "no model in directory: expected a file model.safetensors, or"),
        ("convert loop new", "no model in loop: expected"),
        ("convert text new", "text is no model: expected model.safetensors, model_algo-1 or"),
        ("convert empty new", "empty is no model: expected model.safetensors, model_algo-1 or"),
        ("convert text/x new", "no model in text/x: expected"),
        ("convert cut new", "cut/model.safetensors is not a model file of this library: "),
        ("convert cut.tar.gz new", "cut.tar.gz is not a tar archive that can be read: "),
        (f"convert {LONG} new", "[Errno 36] File name too long: "),
        (f"convert good {LONG}", f"{LONG} cannot be made a directory: File name too long"),
        ("convert good text/new", "text/new cannot be made a directory: Not a directory"),
        ("convert good text/new.tar.gz", "text cannot be made a directory: File exists"),
        ("export-vectors good text --items 1:5", "text cannot be made a directory: File exists"),
        ("score good directory", "[Errno 21] Is a directory: 'directory'"),
        ("score good text", "text, record 0 (byte offset 0): truncated: 6 of the 8 bytes"),
        ("score good text --content-type text/csv", "text, line 1: 1 columns, expected 100: "),
        ("score good text --content-type application/json", "content type 'application/json' is"),
        (
            "score good rows",
            "rows, record 0 (byte offset 0): truncated: 6 of the 8 bytes of a frame header are "
            "there; it looks like libsvm: say ContentType=text/libsvm",
        ),
        ("score directory rows", "no model in directory: expected"),
        ("fetch none new", "[Errno 2] No such file or directory: 'none'"),
        ("fetch good text", "text cannot be made a directory: File exists"),
        ("fetch rows .", "'rows' and 'rows' are the same file"),
    ],
)
@pytest.mark.usefixtures("places")
def test_what_is_not_there_or_something_else_is_said_in_one_line(command, message, capsys):
    code, line = failure(capsys, *command.split())

    assert code == 1
    assert line.startswith(f"python -m fm_algo: {message}")
    assert line.count("\n") == 1
    assert not Path("new/model.safetensors").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
@pytest.mark.usefixtures("places")
def test_what_may_not_be_read_is_said_in_one_line(capsys):
    Path("good").chmod(0)

    code, line = failure(capsys, "convert", "good/model.safetensors", "new")

    assert code == 1
    assert line == ("python -m fm_algo: [Errno 13] Permission denied: 'good/model.safetensors'\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.usefixtures("places")
def test_scores_that_nobody_takes_are_said_in_one_line(unbuffered):
    Path("rows").write_text("1 3:1\n" * 20_000)  # more than a pipe holds
    command = [sys.executable, "-m", "fm_algo", "score", "good", "rows"]
    with subprocess.Popen(
        ["env", f"PYTHONUNBUFFERED={unbuffered}", *command, "--content-type", "text/libsvm"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as scoring:
        scoring.stdout.readline()
        scoring.stdout.close()
        said = scoring.stderr.read()

    assert scoring.returncode == 1
    assert said == b"python -m fm_algo: [Errno 32] Broken pipe\n"


def test_labels_are_converted_with_the_model(mxnet_models, tmp_path):
    save_model(
        tmp_path, load_builtin_model(mxnet_models / "binary-k8-d100"), {}, labels=("no", "yes")
    )

    run("convert", tmp_path, tmp_path / "again")

    assert load_manifest(tmp_path / "again").labels == ("no", "yes")


def test_an_interrupted_command_ends_in_one_line(monkeypatch, capsys):
    def interrupt(_path):
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "read_from", interrupt)

    assert failure(capsys, "convert", PACKED, "x") == (130, "python -m fm_algo: interrupted\n")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("convert", "", "x"),
        ("convert", PACKED, ""),
        ("fetch", "", "x"),
        ("score", PACKED, ""),
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


@pytest.mark.parametrize(
    "command",
    ["convert", "explain", "export-vectors", "inspect", "recommend", "score", "similar"],
)
def test_every_command_says_what_it_is_for(command, capsys):
    with pytest.raises(SystemExit) as stop:
        program.main([command, "--help"])

    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "SRC is a directory with model.safetensors" in text


def test_too_little_memory_is_said_in_one_line(monkeypatch, capsys):
    def no_memory(_path):
        raise MemoryError

    monkeypatch.setattr(convert, "read_from", no_memory)

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
    for command in (convert, explain, export_vectors, inspect, recommend, score, similar):
        monkeypatch.setattr(command, "run", ran.append)

    for command in commands:
        program.main(shlex.split(command, comments=True))

    assert len(ran) == len(commands) >= 8
    assert any(options.target == "model.tar.gz" and options.to == "builtin" for options in ran[:3])
