import pytest

from container.settings import Paths
from container.training.channel_rows import load_channel
from container.training.job import Channel, Resources, TrainingJob
from fm_algo.errors import UserError
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch


def loaded(base, budget_bytes=1 << 20, gpu=0, content_type="text/csv", **described):
    job = TrainingJob(
        hyperparameters=parse_hyperparameters(
            {"feature_dim": 2, "num_factors": 1, "predictor_type": "regressor"}
        ),
        channels={"train": Channel(content_type=content_type, **described)},
        resources=Resources(),
        gpu=gpu,
    )
    return load_channel(Paths(base), job, "train", budget_bytes, lambda: False)


def test_rows_are_told_apart_as_far_as_they_are_known(tmp_path):
    directory = tmp_path / "input" / "data" / "train"
    directory.mkdir(parents=True)
    (directory / "a").write_bytes(b"1,0,2\n3,0,0\n")
    (directory / ".hidden").write_bytes(b"1")

    assert loaded(tmp_path).describe().startswith("2 rows with 1 values (check ")
    assert loaded(tmp_path, budget_bytes=-1).describe().startswith("1 files with 12 bytes (check ")
    assert loaded(tmp_path, input_mode="Pipe").describe() == "a pipe"


def test_the_rows_of_a_host_are_those_of_its_first_gpu(tmp_path):
    """The others do not even look whether there is a channel."""
    rows = loaded(tmp_path, gpu=1)
    assert rows.cached.num_rows == 0
    assert len(rows.cached.require_labels()) == 0
    assert list(loaded(tmp_path, gpu=1, input_mode="Pipe").blocks(0)) == []


def weighted_lines(*weights):
    return b"".join(
        b'{"features": [1, %d], "label": %d, "weight": %g}\n' % (number, number, weight)
        for number, weight in enumerate(weights)
    )


@pytest.fixture
def of_weights(tmp_path):
    """Load a channel of two files of JSON Lines with these weights."""

    def load(*weights, **options):
        directory = tmp_path / "input" / "data" / "train"
        directory.mkdir(parents=True)
        for number, each in enumerate(weights):
            (directory / str(number)).write_bytes(weighted_lines(*each))
        return loaded(tmp_path, content_type="application/jsonlines", **options)

    return load


@pytest.mark.parametrize("budget_bytes", [1 << 20, -1], ids=["in memory", "read again"])
def test_rows_of_weight_0_are_left_out(of_weights, budget_bytes):
    rows = of_weights((1, 0, 2.5), (0, 0), budget_bytes=budget_bytes)
    batch = CSRBatch.join(list(rows.blocks(0)))

    assert batch.labels.tolist() == [0, 2]
    assert batch.weights.tolist() == [1, 2.5]


def test_a_channel_whose_rows_all_have_weight_0_is_refused(of_weights):
    with pytest.raises(UserError) as caught:
        of_weights((0, 0), (0,))
    assert caught.value.message == (
        "train channel: all 3 rows have weight 0, allowed is a sum above 0"
    )
