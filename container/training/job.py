"""Read the platform's files in input/config as one typed `TrainingJob`."""

from pathlib import Path
from typing import Annotated, Self, TypeVar

import msgspec

from container.settings import Paths
from container.training.channel import Channel, check_channels, check_ranking, check_tables
from fm_algo.data.formats.content_type import LIBFFM, parse_content_type
from fm_algo.data.tables.moves import Move
from fm_algo.data.tables.tables import Seen, Tables
from fm_algo.errors import PlatformError, UserError
from fm_algo.hyperparameters import WITHOUT_GRADIENTS, Hyperparameters, parse_hyperparameters
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.early_stopping import judged_metric
from fm_algo.training.metrics import RANKING_METRICS

_T = TypeVar("_T")

EVALUATED = ("validation", "test")
"""The channels whose rows are not trained on."""


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of resourceconfig.json that a job needs.

    Attributes
    ----------
    current_host : str
        This host's name, e.g. algo-1.
    hosts : tuple of str
        All hosts of the job, in order, including this one; the first one leads.
    network_interface_name : str or None
        The interface by which the hosts reach each other; one SDK names one that does not exist.
    """

    current_host: str = "algo-1"
    hosts: tuple[str, ...] = ("algo-1",)
    network_interface_name: str | None = None

    @property
    def rank(self) -> int:
        """Number of this host among all, from 0."""
        return self.hosts.index(self.current_host)


class _CheckpointConfig(msgspec.Struct, frozen=True):
    local_path: Annotated[str, msgspec.Meta(min_length=1)] | None = msgspec.field(
        name="LocalPath", default=None
    )


class TrainingJob(msgspec.Struct, frozen=True, kw_only=True):
    """One training job, checked.

    Attributes
    ----------
    hyperparameters : Hyperparameters
    channels : dict of str to Channel
        By name; train is among them.
    resources : Resources
    checkpoints : Path or None
        Where checkpoints are kept; None if the platform asks for none.
    gpu : int
        The GPU of this process. The process of GPU 0 has all rows of the host.
    tables : Tables or None
        Of a job of tables, once they are learnt; only the process of GPU 0 has them.
    seen : Seen or None
        The items that users have in the training rows, where that is kept or rankings are judged.
    moves : tuple of Move or None
        Of a job of tables that starts from a model: where its features are now.
    fields : FeatureSpace or None
        The fields of the features, where libffm text has told them.
    """

    hyperparameters: Hyperparameters
    channels: dict[str, Channel]
    resources: Resources
    checkpoints: Path | None = None
    gpu: int = 0
    tables: Tables | None = None
    seen: Seen | None = None
    moves: tuple[Move, ...] | None = None
    fields: FeatureSpace | None = None

    def is_pipe(self, name: str) -> bool:
        """Whether there is such a channel and it comes through FIFOs."""
        return name in self.channels and self.channels[name].is_pipe

    @property
    def is_ranked(self) -> bool:
        """Whether there are all items, and rows by which to judge how they are ranked."""
        return "items" in self.channels and any(
            name in self.channels and not self.is_pipe(name) for name in EVALUATED
        )

    @property
    def learns_fields(self) -> bool:
        """Whether libffm text has to be read for the fields of the features before training."""
        hyperparameters = self.hyperparameters
        return (
            hyperparameters.is_field_weighted
            and hyperparameters.feature_fields is None
            and hyperparameters.columns is None
            and parse_content_type(self.channels["train"].content_type).name == LIBFFM
        )

    @property
    def space(self) -> FeatureSpace | None:
        """The features with their fields, as far as they are known."""
        return self.fields if self.tables is None else self.tables.encoder.space

    def with_features(self, feature_dim: int, moves: tuple[Move, ...] | None) -> Self:
        """Return a job of tables whose features are known."""
        hyperparameters = msgspec.structs.replace(self.hyperparameters, feature_dim=feature_dim)
        return msgspec.structs.replace(self, hyperparameters=hyperparameters, moves=moves)


def load_job(paths: Paths) -> TrainingJob:
    """Read and check the job's files in input/config.

    They are hyperparameters.json, inputdataconfig.json and resourceconfig.json. A
    checkpointconfig.json or a checkpoint directory asks for checkpoints.

    Raises
    ------
    UserError
        If a file is missing or malformed, a value is not allowed, the train channel is missing, or
        a channel is not one of ours.
    PlatformError
        If a file exists but cannot be read.
    """
    directory = paths.input_config
    raw = _decode(directory / "hyperparameters.json", dict[str, object])
    channels = _decode(directory / "inputdataconfig.json", dict[str, Channel])
    resources = _resources(directory / "resourceconfig.json")
    hyperparameters = parse_hyperparameters(raw)
    check_channels(channels)
    check_ranking(hyperparameters, channels, len(resources.hosts))
    check_tables(hyperparameters, channels, len(resources.hosts))
    _check_rows_fit(hyperparameters, channels)
    _check_validation(hyperparameters, channels)
    return TrainingJob(
        hyperparameters=hyperparameters,
        channels=channels,
        resources=resources,
        checkpoints=_checkpoints(paths),
    )


def _resources(path: Path) -> Resources:
    found = _decode(path, Resources, default=Resources())
    hosts = tuple(sorted(set(found.hosts)))
    if found.current_host not in hosts:
        raise UserError(
            f"{path}: current_host is {found.current_host}, allowed: one of hosts, "
            f"{', '.join(hosts)}"
        )
    return msgspec.structs.replace(found, hosts=hosts)


def _checkpoints(paths: Paths) -> Path | None:
    config = _decode(
        paths.input_config / "checkpointconfig.json", _CheckpointConfig, default=_CheckpointConfig()
    )
    if config.local_path is not None:
        return Path(config.local_path)
    is_asked_for = (paths.input_config / "checkpointconfig.json").exists()
    return paths.checkpoints if is_asked_for or paths.checkpoints.is_dir() else None


def _decode(path: Path, type_: type[_T], default: _T | None = None) -> _T:
    """Decode one configuration file; return `default` if it does not exist."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=type_)
    except FileNotFoundError as error:
        if default is not None:
            return default
        raise UserError(f"{path} does not exist; the platform writes it for each job") from error
    except OSError as error:
        raise PlatformError(f"{path} cannot be read: {error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not what the platform writes: {error}") from error


def _check_rows_fit(hyperparameters: Hyperparameters, channels: dict[str, Channel]) -> None:
    if hyperparameters.optimizer in WITHOUT_GRADIENTS and channels["train"].is_pipe:
        raise UserError(
            f"optimizer={hyperparameters.optimizer} goes over all rows in memory again and again: "
            "it needs the train channel in File or FastFile mode; TrainingInputMode is Pipe"
        )
    if hyperparameters.bias_init_method == "mean" and channels["train"].is_pipe:
        raise UserError(
            "bias_init_method=mean needs the labels before training begins, and so the train "
            "channel in File or FastFile mode; TrainingInputMode is Pipe"
        )


def _check_validation(hyperparameters: Hyperparameters, channels: dict[str, Channel]) -> None:
    """Check that validation rows exist if they are needed, and come from only one source."""
    judged, patience = judged_metric(hyperparameters), hyperparameters.early_stopping_patience
    is_judged = patience is not None or hyperparameters.early_stopping_metric is not None
    has_rankings = {"items", "validation"} <= channels.keys()
    if is_judged and judged in RANKING_METRICS and not has_rankings:
        raise UserError(
            f"early_stopping_metric={judged} needs an items channel and a validation channel; "
            f"channels found: {', '.join(sorted(channels))}"
        )
    split = hyperparameters.validation_split
    if split is not None and "validation" in channels:
        raise UserError(
            f"there is a validation channel, and validation_split={split} asks for rows of the "
            "train channel: give one of the two"
        )
    if split is not None and channels["train"].is_pipe:
        raise UserError(
            f"validation_split={split} needs the train channel in File or FastFile mode; "
            "TrainingInputMode is Pipe"
        )
    if patience is not None and split is None and "validation" not in channels:
        raise UserError(
            f"early_stopping_patience={patience} needs a validation channel or validation_split"
        )
