import json

import pytest

from container.settings import Paths
from container.training.job import Channel, Resources, load_job
from fm_algo.errors import PlatformError, UserError
from fm_algo.hyperparameters import parse_hyperparameters

HYPERPARAMETERS = {"feature_dim": "5", "num_factors": "2", "predictor_type": "regressor"}
CHANNEL = {
    "ContentType": "text/csv",
    "TrainingInputMode": "File",
    "S3DistributionType": "FullyReplicated",
    "RecordWrapperType": "None",
}
TRAIN_ALONE = {"train": CHANNEL}
RESOURCES = {
    "current_host": "algo-1",
    "hosts": ["algo-1"],
    "current_instance_type": "ml.c5.2xlarge",
    "current_group_name": "homogeneousCluster",
    "instance_groups": [
        {
            "instance_group_name": "homogeneousCluster",
            "instance_type": "ml.c5.2xlarge",
            "hosts": ["algo-1"],
        }
    ],
    "network_interface_name": "eth0",
    "topology": {"spine": 3},
}


@pytest.fixture
def load(tmp_path):
    """Write the platform's files, each as text or as JSON, or not at all; load the job."""

    def write_and_load(hyperparameters=HYPERPARAMETERS, channels=TRAIN_ALONE, resources=RESOURCES):
        config = tmp_path / "input" / "config"
        config.mkdir(parents=True, exist_ok=True)
        for name, content in (
            ("hyperparameters", hyperparameters),
            ("inputdataconfig", channels),
            ("resourceconfig", resources),
        ):
            if content is not None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                (config / f"{name}.json").write_bytes(data)
        return load_job(Paths(tmp_path))

    return write_and_load


def test_the_files_make_a_job(load):
    job = load()

    assert job.hyperparameters == parse_hyperparameters(HYPERPARAMETERS)
    assert job.channels == {"train": Channel(content_type="text/csv")}
    assert job.resources == Resources(
        current_host="algo-1", hosts=("algo-1",), network_interface_name="eth0"
    )


def test_a_channel_without_a_content_type_is_recordio(load):
    """The SDK's `record_set` names none."""
    job = load(channels={"train": {"TrainingInputMode": "File"}})

    assert job.channels["train"].content_type == "application/x-recordio-protobuf"


@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_files_and_fast_files_are_read(load, mode):
    assert load(channels={"train": CHANNEL | {"TrainingInputMode": mode}})


def test_all_our_channels_may_be_given(load):
    job = load(channels={"validation": CHANNEL, "test": {}, "train": CHANNEL})

    assert list(job.channels) == ["validation", "test", "train"]


def test_a_missing_resourceconfig_means_one_host(load):
    assert load(resources=None).resources == Resources(current_host="algo-1", hosts=("algo-1",))


@pytest.mark.parametrize(("channels", "found"), [({}, "none"), ({"test": CHANNEL}, "test")])
def test_the_train_channel_is_required(load, channels, found):
    with pytest.raises(UserError, match=f"the train channel is missing; channels found: {found}$"):
        load(channels=channels)


def test_unknown_channels_are_refused(load):
    with pytest.raises(UserError, match="unknown channel model2, tset; allowed are train"):
        load(channels={"train": CHANNEL, "tset": CHANNEL, "model2": CHANNEL})


def test_another_input_mode_is_refused(load):
    with pytest.raises(UserError, match=r"^test channel: TrainingInputMode is Turbo; .* FastFile"):
        load(channels={"train": CHANNEL, "test": CHANNEL | {"TrainingInputMode": "Turbo"}})


def test_files_wrapped_in_records_are_refused(load):
    with pytest.raises(
        UserError, match=r"^train channel: RecordWrapperType is RecordIO; FM data needs None"
    ):
        load(channels={"train": CHANNEL | {"RecordWrapperType": "RecordIO"}})


def test_hosts_are_numbered_in_order(load):
    hosts = {"current_host": "algo-2", "hosts": ["algo-3", "algo-2", "algo-1"]}

    resources = load(resources=RESOURCES | hosts).resources

    assert resources.hosts == ("algo-1", "algo-2", "algo-3")
    assert resources.rank == 1


def test_a_host_that_is_none_of_the_job_is_refused(load):
    with pytest.raises(UserError, match=r"current_host is algo-7, allowed: one of hosts, algo-1$"):
        load(resources=RESOURCES | {"current_host": "algo-7"})


def test_hyperparameters_are_checked(load):
    with pytest.raises(UserError, match="2 problems in the hyperparameters"):
        load(hyperparameters=HYPERPARAMETERS | {"epochs": "0", "num_factors": "x"})


@pytest.mark.parametrize("name", ["hyperparameters", "inputdataconfig"])
def test_a_missing_file_is_told(load, name):
    argument = {"hyperparameters": "hyperparameters", "inputdataconfig": "channels"}[name]

    with pytest.raises(UserError, match=f"/input/config/{name}.json does not exist"):
        load(**{argument: None})


@pytest.mark.parametrize("argument", ["hyperparameters", "channels", "resources"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{} {}", b"feature_dim: 5", b'{"hosts": ["\xff"]}', b"null", b"\x00"],
)
def test_a_malformed_file_is_told(load, argument, content):
    file = {"channels": "inputdataconfig", "resources": "resourceconfig"}.get(argument, argument)

    with pytest.raises(UserError, match=f"/input/config/{file}.json is not what the platform writ"):
        load(**{argument: content})


@pytest.mark.parametrize(
    "content",
    [{"train": "text/csv"}, {"train": {"ContentType": 5}}, {"train": {"ContentType": ""}}],
)
def test_a_channel_described_wrongly_is_told(load, content):
    with pytest.raises(
        UserError, match=r"/inputdataconfig.json is not what the platform writes: Ex"
    ):
        load(channels=content)


def test_a_file_that_cannot_be_read_is_the_platforms_fault(load, tmp_path):
    (tmp_path / "input" / "config" / "resourceconfig.json").mkdir(parents=True)

    with pytest.raises(PlatformError, match=r"resourceconfig.json cannot be read: .*directory"):
        load(resources=None)


TABLE = CHANNEL | {"ContentType": "text/csv;header=present"}
RANKED = {"train": TABLE, "items": TABLE}
OF_RANKING = {
    "num_factors": "2",
    "predictor_type": "regressor",
    "loss": "bpr",
    "columns": '{"user": "category", "item": "category"}',
}


def test_a_job_with_a_ranking_loss_has_items(load):
    assert load(OF_RANKING, RANKED).hyperparameters.loss == "bpr"
    numbered = HYPERPARAMETERS | {"loss": "bpr"}
    for chosen, channels, found in (
        (OF_RANKING, {"train": TABLE}, "train"),
        (numbered, TRAIN_ALONE, "train"),
    ):
        with pytest.raises(
            UserError,
            match="^loss=bpr ranks the items of a table: it needs columns and an items channel; "
            f"channels found: {found}$",
        ):
            load(chosen, channels)


def test_a_job_with_a_ranking_loss_is_one_of_one_host(load):
    resources = RESOURCES | {"hosts": ["algo-1", "algo-2"]}
    with pytest.raises(
        UserError, match=r"^loss=bpr learns on one host, and this job has 2: use one instance$"
    ):
        load(OF_RANKING, RANKED, resources)


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_no_channel_of_a_ranking_loss_is_a_pipe(load, name):
    piped = {name: TABLE | {"TrainingInputMode": "Pipe"}}
    with pytest.raises(
        UserError, match=f"^{name} channel: TrainingInputMode is Pipe; loss=bpr goes over its rows"
    ):
        load(OF_RANKING, RANKED | piped)


def test_rankings_stop_training_early_by_a_validation_channel(load):
    patient = OF_RANKING | {"early_stopping_patience": "2"}
    with pytest.raises(
        UserError,
        match=r"^early_stopping_metric=ndcg@10 needs an items channel and a validation channel; "
        r"channels found: items, train$",
    ):
        load(patient, RANKED)
    assert load(patient, RANKED | {"validation": TABLE}).is_ranked
