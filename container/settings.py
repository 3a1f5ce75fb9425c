"""The environment settings and the /opt/ml paths. Only this module reads the environment, once."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from fm_algo.data.formats.content_type import (
    CSV,
    JSON,
    JSONLINES,
    RECORDIO_PROTOBUF,
    parse_content_type,
)
from fm_algo.errors import UserError
from fm_algo.runtime.machine import usable_processors

ANSWER_TYPES = (JSON, JSONLINES, RECORDIO_PROTOBUF, CSV)
"""The MIME types a server can answer in, the preferred type first."""

CLUSTER_PORT = 7777
"""The port where the hosts of a training job meet, unless FM_CLUSTER_PORT names another."""

_MEBIBYTE = 1 << 20
_METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_T = TypeVar("_T")
_D = TypeVar("_D")


@dataclass(frozen=True, slots=True)
class Paths:
    """The directory tree that the platform mounts.

    Attributes
    ----------
    base : Path
        /opt/ml, or SAGEMAKER_BASE_DIR to run without a container; the toolkits use this variable.
    """

    base: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read SAGEMAKER_BASE_DIR; any value is allowed, so this cannot fail."""
        env = os.environ if environment is None else environment
        return cls(Path(env.get("SAGEMAKER_BASE_DIR") or "/opt/ml"))

    @property
    def input_config(self) -> Path:
        """Where the platform puts hyperparameters.json and the other configuration files."""
        return self.base / "input" / "config"

    @property
    def input_data(self) -> Path:
        """The directory with one subdirectory per channel."""
        return self.base / "input" / "data"

    @property
    def model(self) -> Path:
        """The platform packs this directory as model.tar.gz; a server loads its model from here."""
        return self.base / "model"

    @property
    def models(self) -> Path:
        """Where a multi-model endpoint unpacks its models, one directory per model."""
        return self.base / "models"

    @property
    def checkpoints(self) -> Path:
        """The platform saves this directory while the job runs, and restores it on a restart."""
        return self.base / "checkpoints"

    @property
    def output_data(self) -> Path:
        """The platform packs this directory as output.tar.gz."""
        return self.base / "output" / "data"

    @property
    def tensorboard(self) -> Path:
        """The platform saves this directory while the job runs, if TensorBoard is asked for."""
        return self.base / "output" / "tensorboard"

    @property
    def failure(self) -> Path:
        """The file that says why the job failed; the platform shows its first 1,024 characters."""
        return self.base / "output" / "failure"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings from the environment.

    Attributes
    ----------
    paths : Paths
        The platform's directory tree.
    port : int
        SAGEMAKER_BIND_TO_PORT; default 8080.
    is_batch : bool
        SAGEMAKER_BATCH: the server works for a batch transform job.
    is_multi_model : bool
        SAGEMAKER_MULTI_MODEL: models are loaded and unloaded while the server runs.
    max_payload_mb : int
        SAGEMAKER_MAX_PAYLOAD_IN_MB: the longest request of a batch transform job; default 6, the
        platform's default. 0 means that a whole object is sent, in chunks.
    max_content_length : int
        MAX_CONTENT_LENGTH, bytes: a longer request is answered 413. Default 25 MiB at an endpoint
        (the platform's limit), in batch SAGEMAKER_MAX_PAYLOAD_IN_MB or the platform's 100 MB.
    num_workers : int
        SAGEMAKER_MODEL_SERVER_WORKERS; default one per usable processor. Always 1 for many models:
        the next request may be for any of them, and processes do not share them.
    worker_timeout_s : int
        SAGEMAKER_MODEL_SERVER_TIMEOUT; default 60, the platform's limit for an answer.
    default_accept : str or None
        SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT: the answer's type if the request names none.
    cluster_port : int
        FM_CLUSTER_PORT: the port where the hosts of a training job meet; default 7777.
    most_gpus : int
        FM_GPUS: how many of a host's GPUs a training job may use, default 1.
    log_level : str
        SAGEMAKER_CONTAINER_LOG_LEVEL, as a number or a name; default INFO.
    metrics_directory : str or None
        The directory given to `share_metrics`.
    """

    paths: Paths
    port: int
    is_batch: bool
    is_multi_model: bool
    max_payload_mb: int
    max_content_length: int
    num_workers: int
    worker_timeout_s: int
    default_accept: str | None
    cluster_port: int
    most_gpus: int
    log_level: str
    metrics_directory: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings.

        Parameters
        ----------
        environment : mapping of str to str, optional
            Default: that of the process.

        Raises
        ------
        UserError
            If the value of a variable is not allowed.
        """
        env = os.environ if environment is None else environment
        is_batch = _read(env, "SAGEMAKER_BATCH", _boolean, default=False)
        is_multi_model = _read(env, "SAGEMAKER_MULTI_MODEL", _boolean, default=False)
        num_workers = _read(
            env, "SAGEMAKER_MODEL_SERVER_WORKERS", _positive, default=usable_processors()
        )
        max_payload_mb = _read(env, "SAGEMAKER_MAX_PAYLOAD_IN_MB", _count, default=None)
        default_length = (max_payload_mb or 100) * _MEBIBYTE if is_batch else 25 * _MEBIBYTE
        return cls(
            paths=Paths.from_environment(env),
            port=_read(env, "SAGEMAKER_BIND_TO_PORT", _positive, default=8080),
            is_batch=is_batch,
            is_multi_model=is_multi_model,
            max_payload_mb=6 if max_payload_mb is None else max_payload_mb,
            max_content_length=_read(env, "MAX_CONTENT_LENGTH", _positive, default=default_length),
            num_workers=1 if is_multi_model else num_workers,
            worker_timeout_s=_read(env, "SAGEMAKER_MODEL_SERVER_TIMEOUT", _positive, default=60),
            default_accept=_read(
                env, "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", _answer_type, default=None
            ),
            cluster_port=_read(env, "FM_CLUSTER_PORT", _port, default=CLUSTER_PORT),
            most_gpus=_read(env, "FM_GPUS", _positive, default=1),
            log_level=_read(env, "SAGEMAKER_CONTAINER_LOG_LEVEL", _log_level, default="INFO"),
            metrics_directory=env.get(_METRICS_DIRECTORY) or None,
        )


def share_metrics(directory: str) -> None:
    """Make this process and its forks keep their counters in a directory.

    Call this before prometheus_client is imported, because it reads the environment on import.
    """
    os.environ[_METRICS_DIRECTORY] = directory


def use_interface(name: str) -> None:
    """Make torch.distributed use a network interface, unless the user has named one."""
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", name)


def take_errors_of_nccl() -> None:
    """Make torch leave errors of NCCL to us, not end the process; call before importing torch."""
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")


def environment_of_gpu(number: int) -> dict[str, str]:
    """Return this process's environment, changed so that it shows only GPU `number` of ours."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = visible.split(",")[number].strip() if visible else str(number)
    places = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(place for place in places if place)
    return os.environ | {"CUDA_VISIBLE_DEVICES": name, "PYTHONPATH": path}


def quiet_torch() -> None:
    """Make torch log only errors, no address warnings; call before importing torch."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def shared_memory() -> str | None:
    """Return a directory in memory; None if there is no writable one."""
    directory = "/dev/shm"  # noqa: S108 - the caller must use random names there
    return directory if os.access(directory, os.W_OK) else None


def _read(env: Mapping[str, str], name: str, parse: Callable[[str], _T], *, default: _D) -> _T | _D:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        return parse(text)
    except ValueError as error:
        raise UserError(f"environment variable {name} is {text!r}, allowed: {error}") from error


def _boolean(text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise ValueError("true or false")
    return values[text.lower()]


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("a whole number, 0 or more")
    return int(text)


def _positive(text: str) -> int:
    try:
        number = _count(text)
    except ValueError:
        number = 0
    if number == 0:
        raise ValueError("a whole number, 1 or more")
    return number


def _port(text: str) -> int:
    number = _count(text)
    if not 1024 <= number <= 65535:
        raise ValueError("an unprivileged port, 1024 to 65535")
    return number


def _answer_type(text: str) -> str:
    name = parse_content_type(text).name
    if name not in ANSWER_TYPES:
        raise ValueError(f"one of {', '.join(ANSWER_TYPES)}")
    return name


def _log_level(text: str) -> str:
    names = {"10": "DEBUG", "20": "INFO", "30": "WARNING", "40": "ERROR", "50": "CRITICAL"}
    name = names.get(text, text.upper())
    if name not in names.values():
        raise ValueError(f"one of {', '.join(names.values())}, or its number")
    return name
