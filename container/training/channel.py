"""`Channel`: an entry of inputdataconfig.json, and what the channels of a job must be like."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from fm_algo.data.formats.content_type import (
    CSV,
    LIBFFM,
    PARQUET,
    RECORDIO_PROTOBUF,
    TABLE_TYPES,
    is_table,
    parse_content_type,
)
from fm_algo.data.tables.encoder import SideName
from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters

CHANNELS = ("train", "test", "validation")
"""The channels that hold rows."""

SIDE_CHANNELS: tuple[SideName, ...] = ("users", "items")
"""The channels that hold tables to be joined to the rows."""

MODEL_CHANNEL = "model"
"""The channel with the model to start from."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of inputdataconfig.json.

    Attributes
    ----------
    content_type : str
        If the user gave none, as with the SDK's `record_set`, it is RecordIO-protobuf.
    input_mode : str
        File, FastFile or Pipe.
    distribution : str
        FullyReplicated: each host gets all files. ShardedByS3Key: each host gets some or none.
    record_wrapper : str
        None or RecordIO. RecordIO wraps whole files and is not for data that already is RecordIO.
    """

    content_type: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(
        name="ContentType", default=RECORDIO_PROTOBUF
    )
    input_mode: str = msgspec.field(name="TrainingInputMode", default="File")
    distribution: str = msgspec.field(name="S3DistributionType", default="FullyReplicated")
    record_wrapper: str = msgspec.field(name="RecordWrapperType", default="None")

    @property
    def is_pipe(self) -> bool:
        """Whether the channel comes through FIFOs."""
        return self.input_mode == "Pipe"

    @property
    def is_sharded(self) -> bool:
        """Whether each host has its own files."""
        return self.distribution == "ShardedByS3Key"


def check_channels(channels: Mapping[str, Channel]) -> None:
    """Check which channels there are, and how they come.

    Raises
    ------
    UserError
        If the train channel is missing, or a channel is not one of ours.
    """
    found = ", ".join(sorted(channels)) or "none"
    if "train" not in channels:
        raise UserError(f"the train channel is missing; channels found: {found}")
    unknown = sorted(channels.keys() - {*CHANNELS, *SIDE_CHANNELS, MODEL_CHANNEL})
    if unknown:
        raise UserError(
            f"unknown channel {', '.join(unknown)}; allowed are train (required), test, "
            "validation and model, and with columns items and users"
        )
    if MODEL_CHANNEL in channels and channels[MODEL_CHANNEL].input_mode != "File":
        raise UserError(
            f"{MODEL_CHANNEL} channel: TrainingInputMode is {channels[MODEL_CHANNEL].input_mode}; "
            "allowed is File"
        )
    for name, channel in channels.items():
        if channel.input_mode not in {"File", "FastFile", "Pipe"}:
            raise UserError(
                f"{name} channel: TrainingInputMode is {channel.input_mode}; allowed are File, "
                "FastFile and Pipe"
            )
        if channel.record_wrapper != "None":
            raise UserError(
                f"{name} channel: RecordWrapperType is {channel.record_wrapper}; FM data needs None"
            )


def check_tables(
    hyperparameters: Hyperparameters, channels: Mapping[str, Channel], num_hosts: int
) -> None:
    """Check that channels hold tables if, and only if, the job says what their columns are.

    Raises
    ------
    UserError
        If a content type is not allowed, or the columns cannot be learnt in this job.
    """
    with_data = {name: channel for name, channel in channels.items() if name != MODEL_CHANNEL}
    if hyperparameters.columns is None:
        for name, channel in with_data.items():
            _check_numbered(name, channel)
        return
    for name, channel in with_data.items():
        _check_table(name, channel)
    if num_hosts > 1:
        _check_unlearnt(hyperparameters, channels, f"{num_hosts} hosts")
    elif channels["train"].is_pipe:
        _check_unlearnt(hyperparameters, channels, "a train channel in Pipe mode")


def check_fields(channels: Mapping[str, Channel], num_hosts: int) -> None:
    """Check that one pass over the train channel can tell the field of each feature.

    Raises
    ------
    UserError
        If the channel's format has no fields, or a host does not see all rows beforehand.
    """
    train = channels["train"]
    if parse_content_type(train.content_type).name != LIBFFM:
        problem = f"ContentType is {train.content_type}, which has no fields; {LIBFFM} has"
    elif train.is_pipe:
        problem = "TrainingInputMode is Pipe: nobody sees all rows beforehand, to learn the fields"
    elif train.is_sharded and num_hosts > 1:
        problem = (
            f"it is sharded over {num_hosts} hosts: no host sees all rows, to learn the fields"
        )
    else:
        return
    raise UserError(f"train channel: {problem}; else say the field of each feature: feature_fields")


def check_ranking(
    hyperparameters: Hyperparameters, channels: Mapping[str, Channel], num_hosts: int
) -> None:
    """Check that a job with a ranking loss has items to rank, and rows that it can hold.

    Raises
    ------
    UserError
        If it does not.
    """
    loss = hyperparameters.loss
    if loss is None:
        return
    if hyperparameters.columns is None or "items" not in channels:
        raise UserError(
            f"loss={loss} ranks the items of a table: it needs columns and an items channel; "
            f"channels found: {', '.join(sorted(channels))}"
        )
    if num_hosts > 1:
        raise UserError(
            f"loss={loss} learns on one host, and this job has {num_hosts}: use one instance"
        )
    for name in CHANNELS:
        if name in channels and channels[name].is_pipe:
            raise UserError(
                f"{name} channel: TrainingInputMode is Pipe; loss={loss} goes over its rows again "
                "and again, and needs File or FastFile mode"
            )


def _check_numbered(name: str, channel: Channel) -> None:
    content_type = parse_content_type(channel.content_type)
    is_always_table = content_type.name == PARQUET or (
        content_type.name == CSV and is_table(content_type)
    )
    if name in SIDE_CHANNELS or is_always_table:
        raise UserError(
            f"{name} channel: a table ({channel.content_type}) needs the hyperparameter columns, "
            'which says what each column is, such as {"rating": "label", "user": "category"}'
        )


def _check_table(name: str, channel: Channel) -> None:
    content_type = parse_content_type(channel.content_type)
    if not is_table(content_type):
        hint = ""
        if content_type.name == CSV:
            hint = "; the first line of a CSV table names its columns"
        raise UserError(
            f"{name} channel: ContentType is {channel.content_type}; with columns, allowed are "
            f"{', '.join(TABLE_TYPES)}{hint}"
        )
    if channel.is_pipe and (content_type.name == PARQUET or name in SIDE_CHANNELS):
        what = "Parquet" if content_type.name == PARQUET else "a table to be joined"
        raise UserError(
            f"{name} channel: TrainingInputMode is Pipe; {what} needs File or FastFile mode"
        )


def _check_unlearnt(
    hyperparameters: Hyperparameters, channels: Mapping[str, Channel], what: str
) -> None:
    """Check that features do not depend on rows that no single host has."""
    columns = hyperparameters.table_columns or {}
    learnt = [name for name, column in columns.items() if column.is_learnt]
    problems = []
    if learnt:
        problems.append(f'{", ".join(learnt)} as {{"hash": BITS}}')
    problems += [f"no {name} channel" for name in SIDE_CHANNELS if name in channels]
    if hyperparameters.keep_seen:
        problems.append("keep_seen=false")
    if problems:
        raise UserError(
            f"{what}: nobody sees all rows beforehand, to learn what the values are; allowed with "
            f"{', '.join(problems)}; else use one host and File or FastFile mode"
        )
