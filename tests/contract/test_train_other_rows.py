"""Training jobs that find the checkpoints of a job with other rows."""

import pytest
from training_tree import Rows, TrainingTree

from container.training import job_rows, train_job
from fm_algo.errors import UserError

ROWS = Rows.draw(1, 200)


@pytest.fixture
def tree(tmp_path):
    """A job that has ended and left checkpoints."""
    tree = TrainingTree(tmp_path / "ml")
    tree.channel("train", {"a.csv": ROWS[:150].csv, "b.csv": ROWS[150:].csv})
    (tree.base / "checkpoints").mkdir()
    return tree


@pytest.fixture
def small_machine(monkeypatch):
    """Until undone, no rows fit in memory."""
    monkeypatch.setattr(job_rows, "_memory_budget_bytes", lambda _: 0)
    return monkeypatch


def run(tree, epochs, **changes):
    tree.hyperparameters(epochs=str(epochs), **changes)
    tree.run()


def refusal(tree, **changes):
    """Say why the job does not go on."""
    checkpoints = sorted((tree.base / "checkpoints").iterdir())
    with pytest.raises(UserError) as caught:
        run(tree, 3, **changes)
    assert sorted((tree.base / "checkpoints").iterdir()) == checkpoints
    return caught.value.message


def test_one_row_more_is_told(tree):
    run(tree, 2)
    tree.channel("train", {"c.csv": ROWS[:1].csv})
    message = refusal(tree)

    path = tree.base / "checkpoints" / "fm-000002-000000000.checkpoint"
    assert message.startswith(
        f"the checkpoint {path} is of a job with other rows: train channel: 200 rows with "
    )
    assert " there, 201 rows with " in message
    assert message.endswith(
        " here; use the same, or a checkpoint path of its own; to go on with new rows, give the "
        "model in a model channel"
    )


@pytest.mark.parametrize("what", ["labels", "features"])
def test_one_number_changed_is_told(tree, what):
    run(tree, 2)
    changed = Rows(ROWS.features.copy(), ROWS.labels.copy())[:150]
    changed_numbers = getattr(changed, what).reshape(-1)
    changed_numbers[changed_numbers.nonzero()[0][0]] += 1
    tree.channel("train", {"a.csv": changed.csv})

    assert "other rows: train channel: 200 rows" in refusal(tree)


def test_the_same_rows_in_another_order_are_told(tree):
    run(tree, 2)
    tree.channel("train", {"a.csv": ROWS[50:].csv, "b.csv": ROWS[:50].csv})

    assert "other rows: train channel: 200 rows" in refusal(tree)


def test_the_same_rows_in_other_files_are_welcome(tree):
    run(tree, 2)
    directory = tree.channel("train", {"a.csv": ROWS[:10].csv, "c.csv": ROWS[10:].csv})
    (directory / "b.csv").unlink()
    run(tree, 3)


def test_of_rows_that_are_read_again_the_files_are_compared(tree, small_machine):
    run(tree, 2)
    tree.channel("train", {"b.csv": ROWS[150:].csv})  # as downloaded anew
    run(tree, 3)
    tree.channel("train", {"b.csv": ROWS[151:].csv})
    small_machine.undo()
    message = refusal(tree)

    assert "train channel: 2 files with " in message
    assert " there, 2 files with " in message


def test_validation_rows_count_where_they_choose_the_model(tree, small_machine):
    tree.channel("validation", {"a.csv": ROWS[:20].csv})
    run(tree, 2, early_stopping_patience="2")
    small_machine.undo()
    run(tree, 3, early_stopping_patience="2")
    tree.channel("validation", {"a.csv": ROWS[:30].csv})

    assert "other rows: validation channel: 1 files" in refusal(tree, early_stopping_patience="2")
    run(tree, 3)


def test_a_checkpoint_that_does_not_know_its_rows_is_used(tree, monkeypatch):
    """As those of earlier releases."""
    with monkeypatch.context() as patched:
        patched.setattr(train_job, "_describe_rows", lambda *_: {})
        run(tree, 2)
    tree.channel("train", {"c.csv": ROWS[:1].csv})
    run(tree, 3)
    tree.channel("train", {"d.csv": ROWS[:1].csv})

    assert "train channel: 201 rows" in refusal(tree)
