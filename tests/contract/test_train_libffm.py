"""Training and serving with libffm text, by the real programs."""

import gzip
import shutil

import pytest
from test_train_streams import Platform
from training_tree import Rows, TrainingTree, finish

from fm_algo.artifacts.artifact import load_model

LIBFFM = "text/libffm"
ROWS = Rows.draw(3, 200)
SCORED = Rows.draw(4, 5)


def as_libffm(rows):
    """Add fields to libsvm text: features 0 and 1 are in field 7, the others in 0."""
    lines = (line.split() for line in rows.libsvm.decode().splitlines())
    return "".join(
        " ".join([label, *(f"{7 if int(word[0]) < 2 else 0}:{word}" for word in words)]) + "\n"
        for label, *words in lines
    ).encode()


@pytest.fixture(scope="module")
def of_libsvm(tmp_path_factory):
    """The parameters that the same rows come to without fields."""
    tree = TrainingTree(tmp_path_factory.mktemp("libsvm"))
    tree.channel("train", {"a": ROWS.libsvm}, "text/libsvm")
    tree.run()
    return load_model(tree.model)


def assert_same(model, other):
    arrays = [(m.w0.tobytes(), m.w.tobytes(), m.V.tobytes()) for m in (model, other)]
    assert arrays[0] == arrays[1]


def test_a_model_is_trained_and_served(tmp_path, launch, of_libsvm, request):
    if "image" in request.node.callspec.id:
        pytest.skip("train is a program of this machine here")
    tree = TrainingTree(tmp_path / "ml")
    files = {"a.libffm": as_libffm(ROWS[:50]), "b.libffm.gz": gzip.compress(as_libffm(ROWS[50:]))}
    tree.channel("train", files, LIBFFM)
    tree.channel("test", {"a": as_libffm(SCORED)}, "text/x-libffm")
    outcome = tree.train()
    assert (outcome.code, outcome.errors) == (0, "")
    assert_same(load_model(tree.model), of_libsvm)

    shutil.rmtree(tree.base / "input")
    server = launch(tree.base, {})
    reply = server.invoke(as_libffm(SCORED), Content_Type=LIBFFM)
    same = server.invoke(SCORED.libsvm, Content_Type="text/libsvm")
    assert (reply.status, reply.content_type) == (200, "text/csv")
    assert reply.body == same.body
    assert reply.body.count(b"\n") == len(SCORED.labels)
    refused = server.invoke(b"1 0:1\n", Content_Type=LIBFFM)
    assert (refused.status, "this looks like libsvm" in refused.reason) == (400, True)


def test_a_channel_of_libffm_may_come_through_pipes(tmp_path):
    files, tree = TrainingTree(tmp_path / "files"), TrainingTree(tmp_path / "pipe")
    for each in (files, tree):
        each.hyperparameters(shuffle="false", epochs="2")
    files.channel("train", {"a": ROWS.libsvm}, "text/libsvm")
    files.run()
    tree.channel("train", content_type=LIBFFM, TrainingInputMode="Pipe")
    process = tree.start()
    Platform(tree, "train", as_libffm(ROWS), 2).start()
    outcome = finish(process)
    assert (outcome.code, outcome.errors) == (0, "")
    assert_same(load_model(tree.model), load_model(files.model))


def test_libffm_under_the_name_of_libsvm_is_told(tmp_path):
    tree = TrainingTree(tmp_path)
    tree.channel("train", {"a.txt": as_libffm(ROWS)}, "text/libsvm")
    outcome = tree.train()
    assert outcome.code == 1
    assert "train channel, a.txt, line 1: " in tree.failure
    assert "this looks like libffm, field:feature:value: the content type is" in tree.failure
