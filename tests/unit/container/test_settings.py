from pathlib import Path

import pytest

from container.settings import Paths, Settings, environment_of_gpu
from fm_algo.errors import UserError
from fm_algo.runtime.machine import usable_processors

MEBIBYTE = 1 << 20


def test_an_empty_environment_gives_the_platforms_defaults():
    settings = Settings.from_environment({})

    assert settings == Settings(
        paths=Paths(Path("/opt/ml")),
        port=8080,
        is_batch=False,
        is_multi_model=False,
        max_payload_mb=6,
        max_content_length=25 * MEBIBYTE,
        num_workers=usable_processors(),
        worker_timeout_s=60,
        default_accept=None,
        cluster_port=7777,
        most_gpus=1,
        log_level="INFO",
        metrics_directory=None,
    )


def test_every_variable_is_read():
    settings = Settings.from_environment(
        {
            "SAGEMAKER_BASE_DIR": "/data/ml",
            "SAGEMAKER_BIND_TO_PORT": "9000",
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "20",
            "MAX_CONTENT_LENGTH": "1000",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "3",
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": "600",
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "Text/CSV; header=no",
            "FM_CLUSTER_PORT": "9100",
            "FM_GPUS": "2",
            "SAGEMAKER_CONTAINER_LOG_LEVEL": "10",
            "PROMETHEUS_MULTIPROC_DIR": "/shared/metrics",
        }
    )

    assert settings == Settings(
        paths=Paths(Path("/data/ml")),
        port=9000,
        is_batch=True,
        is_multi_model=False,
        max_payload_mb=20,
        max_content_length=1000,
        num_workers=3,
        worker_timeout_s=600,
        default_accept="text/csv",
        cluster_port=9100,
        most_gpus=2,
        log_level="DEBUG",
        metrics_directory="/shared/metrics",
    )


def test_the_process_environment_is_read_by_default(monkeypatch):
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "9001")

    assert Settings.from_environment().port == 9001


def test_the_tree_of_the_platform():
    paths = Paths(Path("/opt/ml"))

    assert paths.input_config == Path("/opt/ml/input/config")
    assert paths.input_data == Path("/opt/ml/input/data")
    assert paths.model == Path("/opt/ml/model")
    assert paths.failure == Path("/opt/ml/output/failure")


@pytest.mark.parametrize(
    ("payload", "limit_mb", "told_mb"), [("", 100, 6), ("7", 7, 7), ("0", 100, 0)]
)
def test_a_batch_job_takes_its_whole_payload(payload, limit_mb, told_mb):
    settings = Settings.from_environment(
        {"SAGEMAKER_BATCH": "True", "SAGEMAKER_MAX_PAYLOAD_IN_MB": payload}
    )

    assert settings.max_content_length == limit_mb * MEBIBYTE
    assert settings.max_payload_mb == told_mb


def test_the_models_of_a_multi_model_server_are_in_one_process():
    settings = Settings.from_environment(
        {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": "8"}
    )

    assert settings.is_multi_model
    assert settings.num_workers == 1


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1"])
def test_true_has_several_spellings(text):
    assert Settings.from_environment({"SAGEMAKER_BATCH": text}).is_batch


@pytest.mark.parametrize("text", ["false", "False", "0", "", " "])
def test_false_has_several_spellings(text):
    assert not Settings.from_environment({"SAGEMAKER_BATCH": text}).is_batch


@pytest.mark.parametrize("name", ["SAGEMAKER_BASE_DIR", "SAGEMAKER_BIND_TO_PORT"])
def test_an_empty_variable_is_as_good_as_none(name):
    assert Settings.from_environment({name: ""}) == Settings.from_environment({})


@pytest.mark.parametrize(
    ("text", "level"), [("20", "INFO"), ("warning", "WARNING"), ("40", "ERROR"), ("50", "CRITICAL")]
)
def test_a_log_level_is_a_name_or_a_number(text, level):
    settings = Settings.from_environment({"SAGEMAKER_CONTAINER_LOG_LEVEL": text})

    assert settings.log_level == level


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http", "a whole number, 1 or more"),
        ("SAGEMAKER_BIND_TO_PORT", "0", "a whole number, 1 or more"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "-1", "a whole number, 1 or more"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "1.5", "a whole number, 1 or more"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "six", "a whole number, 0 or more"),
        ("MAX_CONTENT_LENGTH", "٣", "a whole number, 1 or more"),
        ("FM_GPUS", "0", "a whole number, 1 or more"),
        ("SAGEMAKER_BATCH", "yes", "true or false"),
        ("SAGEMAKER_MULTI_MODEL", "2", "true or false"),
        ("SAGEMAKER_CONTAINER_LOG_LEVEL", "loud", "one of DEBUG, INFO"),
        ("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "image/png", "one of application/json, "),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_is(name, text, allowed):
    with pytest.raises(UserError) as caught:
        Settings.from_environment({name: text})

    assert caught.value.message.startswith(
        f"environment variable {name} is {text!r}, allowed: {allowed}"
    )


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, "1"), ("3,5", "5"), ("GPU-1a, GPU-2b", "GPU-2b")],
)
def test_the_process_of_a_gpu_sees_no_other(monkeypatch, root, visible, expected):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("PYTHONPATH", "/some/where")

    environment = environment_of_gpu(1)

    assert environment["CUDA_VISIBLE_DEVICES"] == expected
    assert environment["PYTHONPATH"] == f"{root}:/some/where"
