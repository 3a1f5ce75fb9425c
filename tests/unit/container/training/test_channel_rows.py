from container.settings import Paths
from container.training.channel_rows import load_channel
from container.training.job import Channel, Resources, TrainingJob
from fm_algo.hyperparameters import parse_hyperparameters


def loaded(base, budget_bytes=1 << 20, gpu=0, **described):
    job = TrainingJob(
        hyperparameters=parse_hyperparameters(
            {"feature_dim": 2, "num_factors": 1, "predictor_type": "regressor"}
        ),
        channels={"train": Channel(content_type="text/csv", **described)},
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
