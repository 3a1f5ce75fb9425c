"""Servers under test: the real `serve` as a process, and as a container where an image is named."""

import contextlib
import dataclasses
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from http_reply import Reply, ask

from fm_algo.artifacts.artifact import save_model
from fm_algo.model import FMModel

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
"""What the platform grants a server between SIGTERM and SIGKILL."""


class Server(ABC):
    """A running server.

    Attributes
    ----------
    port : int
        On the loopback interface.
    base : Path
        Where it finds what the platform mounts below /opt/ml.
    """

    def __init__(self, port: int, base: Path) -> None:
        self.port = port
        self.base = base

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        """One request on a connection of its own; `Content_Type=` stands for Content-Type."""
        with contextlib.closing(self.connect()) as connection:
            return ask(connection, method, path, body, **headers)

    def invoke(self, body: object, **headers: str) -> Reply:
        return self.ask("POST", "/invocations", body, **headers)

    def wait_until_up(self) -> None:
        """Wait until /ping is answered, with whatever status."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.ask("GET", "/ping")
            except (OSError, http.client.HTTPException):
                if time.monotonic() > deadline or not self.is_running():
                    pytest.fail(f"the server does not start:\n{self.log()}")
                time.sleep(0.05)
            else:
                return

    @abstractmethod
    def log(self) -> str: ...
    @abstractmethod
    def is_running(self) -> bool: ...
    @abstractmethod
    def terminate(self) -> None:
        """Send SIGTERM, as the platform does."""

    @abstractmethod
    def wait(self) -> int:
        """Wait for the end and return the exit code."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing behind of a server told to end."""


class ProcessServer(Server):
    def __init__(self, root: Path, base: Path, port: int, environment: Mapping[str, str]) -> None:
        super().__init__(port, base)
        self._log = base.with_suffix(".log")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
        own = {"PATH": path, "HOME": str(base), "SAGEMAKER_BASE_DIR": str(base)}
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [root / "serve"],
                env=own | {"SAGEMAKER_BIND_TO_PORT": str(port)} | environment,
                cwd=base,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Of gunicorn's master."""
        return self._process.pid

    def log(self) -> str:
        return self._log.read_text()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self._process.wait(STOP_TIMEOUT_S)

    def discard(self) -> None:
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


class ContainerServer(Server):
    """The image as the platform runs it, and with as few rights as it may give."""

    def __init__(self, image: str, base: Path, port: int, environment: Mapping[str, str]) -> None:
        super().__init__(port, Path("/opt/ml"))
        self._name = f"fm-test-{uuid.uuid4().hex[:12]}"
        limits = ["--user=1000:1000", "--read-only", "--tmpfs=/tmp"]
        mounts = [f"--volume={place}:/opt/ml/{place.name}:ro" for place in base.iterdir()]
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        publish = f"--publish=127.0.0.1:{port}:8080"
        run = ["run", "--detach", f"--name={self._name}", publish, *limits, *mounts, *variables]
        self._docker(*run, image, "serve")

    @staticmethod
    def _docker(*arguments: str) -> str:
        done = subprocess.run(
            ["docker", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=START_TIMEOUT_S,
            check=True,
        )
        return done.stdout

    def log(self) -> str:
        return self._docker("logs", self._name)

    def is_running(self) -> bool:
        return "true" in self._docker("inspect", "--format={{.State.Running}}", self._name)

    def terminate(self) -> None:
        self._docker("kill", "--signal=TERM", self._name)

    def wait(self) -> int:
        return int(self._docker("wait", self._name))

    def discard(self) -> None:
        self._docker("rm", "--force", "--volumes", self._name)


Launcher = Callable[[Path, Mapping[str, str]], Server]


@pytest.fixture(
    scope="session", params=["process", pytest.param("image", marks=pytest.mark.docker)]
)
def launch(request: pytest.FixtureRequest, root: Path) -> Iterator[Launcher]:
    """Start servers on a tree like /opt/ml; none outlives the session."""
    image = request.getfixturevalue("image") if request.param == "image" else None
    servers = []

    def start(base: Path, environment: Mapping[str, str]) -> Server:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        servers.append(
            ContainerServer(image, base, port, environment)
            if image
            else ProcessServer(root, base, port, environment)
        )
        servers[-1].wait_until_up()
        return servers[-1]

    yield start
    for server in servers:
        if server.is_running():
            server.terminate()
    for server in servers:
        server.discard()


@pytest.fixture(scope="session")
def models() -> dict[str, FMModel]:
    """A small model of each predictor type, and each with 20 samples of the posterior."""
    rng = np.random.default_rng(7)
    w0, w, V = np.array([0.25]), rng.normal(size=5), rng.normal(size=(5, 2))
    parameters = [array.astype(np.float32) for array in (w0, w, V)]
    single = {
        "regressor": FMModel("regressor", *parameters),
        "binary_classifier": FMModel("binary_classifier", *parameters),
    }
    sampled = {
        f"sampled {predictor_type}": dataclasses.replace(
            model, samples=tuple(_near(model, rng) for _ in range(20))
        )
        for predictor_type, model in single.items()
    }
    return single | sampled


def _near(model: FMModel, rng: np.random.Generator) -> FMModel:
    """Draw a sample: wider than the model, with factors that are worth as much."""
    parameters = (model.w0, model.w, np.repeat(model.V, 2, axis=1) / np.float32(np.sqrt(2)))
    return FMModel(
        model.predictor_type,
        *(
            (array + rng.normal(scale=0.2, size=array.shape)).astype(np.float32)
            for array in parameters
        ),
    )


def _lay_out(base: Path, models: Mapping[str, FMModel]) -> Path:
    base.mkdir(exist_ok=True)
    for directory, model in models.items():
        (base / directory).mkdir(parents=True)
        save_model(base / directory, model, {})
    return base


@pytest.fixture
def start_server(launch: Launcher, tmp_path: Path) -> Callable[..., Server]:
    """Start a server of the test's own, with models where the test wants them below /opt/ml."""

    def start(models: Mapping[str, FMModel] | None = None, **environment: str) -> Server:
        return launch(_lay_out(tmp_path / "ml", models or {}), environment)

    return start


@pytest.fixture(scope="session")
def server_of(
    launch: Launcher, models: dict[str, FMModel], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Server]:
    """Return a server that tests share: one for each model and environment."""
    servers: dict[tuple[object, ...], Server] = {}

    def find(predictor_type: str, **environment: str) -> Server:
        key = (predictor_type, *sorted(environment.items()))
        if key not in servers:
            base = _lay_out(
                tmp_path_factory.mktemp("served") / "ml", {"model": models[predictor_type]}
            )
            servers[key] = launch(base, environment)
        return servers[key]

    return find


@pytest.fixture(scope="session")
def multi_model_server(
    launch: Launcher, models: dict[str, FMModel], tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """Return a multi-model server that tests share; what they load they unload."""
    laid_out = {
        "models/a/model": models["regressor"],
        "models/b/model": models["binary_classifier"],
        "models/s/model": models["sampled binary_classifier"],
    }
    base = _lay_out(tmp_path_factory.mktemp("served") / "ml", laid_out)
    return launch(base, {"SAGEMAKER_MULTI_MODEL": "true", "SAGEMAKER_MODEL_SERVER_WORKERS": "3"})
