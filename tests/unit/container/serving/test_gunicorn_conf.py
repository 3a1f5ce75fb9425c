import dataclasses
import gc
import importlib
import logging.config
from pathlib import Path

import gunicorn.config
import numpy as np
import pytest

import container.serving.gunicorn_conf
from container.serving import server
from container.serving.app import create_app
from container.serving.paced_worker import PacedWorker
from container.settings import Settings
from fm_algo.artifacts.artifact import save_model
from fm_algo.model import FMModel


@pytest.fixture
def configure(monkeypatch):
    """Load the configuration as gunicorn does, for an environment."""

    def load(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        module = importlib.reload(container.serving.gunicorn_conf)
        config = gunicorn.config.Config()
        for name, value in vars(module).items():
            if name in config.settings:
                config.set(name, value)
        return config

    yield load
    monkeypatch.undo()
    importlib.reload(container.serving.gunicorn_conf)


def test_the_environment_decides_port_workers_and_timeout(configure):
    config = configure(
        SAGEMAKER_BIND_TO_PORT="9002",
        SAGEMAKER_MODEL_SERVER_WORKERS="5",
        SAGEMAKER_MODEL_SERVER_TIMEOUT="90",
        SAGEMAKER_CONTAINER_LOG_LEVEL="30",
    )

    assert config.address == [("0.0.0.0", 9002)]  # noqa: S104 - what a container listens on
    assert (config.workers, config.timeout, config.loglevel) == (5, 90, "warning")


def test_workers_share_one_model_and_stop_in_time(configure):
    config = configure()

    assert config.preload_app
    assert issubclass(config.worker_class, PacedWorker)
    assert config.graceful_timeout < 30
    assert config.keepalive > 60
    assert config.accesslog is None


def test_nothing_is_written_to_the_home_directory(configure):
    assert configure().settings["control_socket_disable"].get()


@pytest.mark.parametrize(("is_writable", "place"), [(True, "/dev/shm"), (False, None)])  # noqa: S108
def test_heartbeats_go_to_memory_where_that_can_be_written(
    configure, monkeypatch, is_writable, place
):
    monkeypatch.setattr("os.access", lambda *_: is_writable)

    assert configure().worker_tmp_dir == place


def test_the_log_goes_to_stdout_in_one_form(configure, capsys):
    config = configure()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logging.config.dictConfig(config.logconfig_dict)
        for name in ("gunicorn.error", "container.serving.app"):
            logging.getLogger(name).info("a line of %s", name)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name in config.logconfig_dict["loggers"]:
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [], True

    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("] ")[2] for line in lines] == [
        "a line of gunicorn.error",
        "a line of container.serving.app",
    ]
    assert all(" INFO " in line.partition("]")[0] for line in lines)


def test_what_the_master_has_loaded_is_left_alone_by_the_workers(configure):
    try:
        configure().when_ready(None)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("is_multi_model", ["true", "false"])
def test_a_worker_knows_how_many_samples_its_application_serves(
    configure, make_worker, tmp_path, is_multi_model
):
    zeros = np.zeros((1, 1), np.float32)
    model = FMModel("regressor", zeros[0], zeros[0], zeros)
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", dataclasses.replace(model, samples=(model,) * 7), {})
    app = create_app(
        Settings.from_environment(
            {"SAGEMAKER_BASE_DIR": str(tmp_path), "SAGEMAKER_MULTI_MODEL": is_multi_model}
        )
    )
    worker = make_worker(PacedWorker, app)

    configure().post_worker_init(worker)

    assert worker.num_samples(b"/invocations") == (0 if is_multi_model == "true" else 7)


def test_the_server_is_gunicorn_with_this_configuration(monkeypatch):
    started = []
    monkeypatch.setattr("sys.argv", ["serve", "left", "over"])
    monkeypatch.setattr(server, "run", lambda: started.append(server.sys.argv[:]))
    monkeypatch.setattr(server, "share_metrics", lambda directory: Path(directory).rmdir())

    server.main()

    assert started == [["serve", "--config", "python:container.serving.gunicorn_conf"]]
