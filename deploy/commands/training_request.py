"""The request for a training job: the same for a single job and for each job of a tuning job."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.aws.call import Aws, Call
from deploy.aws.uploads import Upload
from deploy.commands import arguments as flags
from deploy.metric_definitions import (
    METRIC_DEFINITIONS,
    MetricDefinition,
    metrics_with_rankings,
)
from deploy.settings import Settings
from fm_algo.data.formats.content_type import table_type_of
from fm_algo.errors import UserError
from fm_algo.hyperparameters import parse_hyperparameters

CHANNELS = ("train", "test", "validation")
"""The channels of data."""

SIDE_CHANNELS = ("items", "users")
"""The channels of tables that are joined to the rows."""

MODEL_CHANNEL = "model"
"""The channel with the model to start from."""

MODEL_TYPE = "application/x-sagemaker-model"
"""The AWS SDK's content type for a model in a channel."""

_MAX_RUNTIME_S = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel of a training job.

    Attributes
    ----------
    name : str
    uri : str
        A prefix or a manifest in S3.
    content_type : str or None
        None means RecordIO-protobuf.
    distribution : str
        ShardedByS3Key or FullyReplicated.
    input_mode : str or None
        None means the mode of the job.
    """

    name: str
    uri: str
    content_type: str | None
    distribution: str
    input_mode: str | None = None

    def as_request(self) -> dict[str, Any]:
        """Return the form AWS takes."""
        is_manifest = self.uri.endswith(".manifest")
        source = {
            "S3DataType": "ManifestFile" if is_manifest else "S3Prefix",
            "S3Uri": self.uri,
            "S3DataDistributionType": self.distribution,
        }
        request: dict[str, Any] = {
            "ChannelName": self.name,
            "DataSource": {"S3DataSource": source},
        }
        if self.content_type is not None:
            request["ContentType"] = self.content_type
        if self.input_mode is not None:
            request["InputMode"] = self.input_mode
        return request


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """The parts that CreateTrainingJob and CreateHyperParameterTuningJob share.

    Attributes
    ----------
    image, role : str
    hyperparameters : mapping of str to str
        Checked, but spelled as the user wrote them.
    channels : tuple of Channel
    uploads : tuple of Upload
        Local data to upload to S3 first.
    output : str
        S3 prefix of the models.
    input_mode : str
        File, FastFile or Pipe.
    instance_type : str
    instance_count : int
    volume_gb : int
    max_runtime_s : int
    max_wait_s : int or None
        Longest time including the wait for spot machines; None means no spot machines.
    checkpoints : str or None
        S3 prefix of checkpoints.
    """

    image: str
    role: str
    hyperparameters: Mapping[str, str]
    channels: tuple[Channel, ...]
    uploads: tuple[Upload, ...]
    output: str
    input_mode: str
    instance_type: str
    instance_count: int
    volume_gb: int
    max_runtime_s: int
    max_wait_s: int | None
    checkpoints: str | None

    def common(self) -> dict[str, Any]:
        """Return the parameters that both calls have."""
        stopping = {"MaxRuntimeInSeconds": self.max_runtime_s}
        request: dict[str, Any] = {
            "AlgorithmSpecification": {
                "TrainingImage": self.image,
                "TrainingInputMode": self.input_mode,
                "MetricDefinitions": [metric.as_request() for metric in self.metrics],
            },
            "RoleArn": self.role,
            "InputDataConfig": [channel.as_request() for channel in self.channels],
            "OutputDataConfig": {"S3OutputPath": self.output},
            "StoppingCondition": stopping,
        }
        if self.max_wait_s is not None:
            request["EnableManagedSpotTraining"] = True
            stopping["MaxWaitTimeInSeconds"] = self.max_wait_s
        if self.checkpoints is not None:
            request["CheckpointConfig"] = {"S3Uri": self.checkpoints}
        return request

    @property
    def metrics(self) -> tuple[MetricDefinition, ...]:
        """The metrics that AWS reads from the log of such a job."""
        if not any(channel.name == "items" for channel in self.channels):
            return METRIC_DEFINITIONS
        return metrics_with_rankings(
            self.hyperparameters["predictor_type"], self.hyperparameters.get("loss")
        )

    def upload_calls(self) -> list[Call]:
        """Return the calls that upload local data to S3."""
        return [call for upload in self.uploads for call in upload.calls()]

    def upload(self, aws: Aws) -> None:
        """Upload the local data that is not in S3 yet."""
        for upload in self.uploads:
            upload.make(aws)

    def resources(self) -> dict[str, Any]:
        """Return the resources that the job runs on."""
        return {
            "InstanceCount": self.instance_count,
            "InstanceType": self.instance_type,
            "VolumeSizeInGB": self.volume_gb,
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a training job."""
    flags.add_role(parser)
    flags.add_bucket(parser)
    flags.add_instances(parser, "ml.c5.2xlarge")
    for name in CHANNELS:
        parser.add_argument(
            f"--{name}",
            metavar="PATH_OR_S3_URI",
            required=name == "train",
            help=f"data of the {name} channel; local files are uploaded, .manifest is a manifest",
        )
    for name in SIDE_CHANNELS:
        parser.add_argument(
            f"--{name}",
            metavar="PATH_OR_S3_URI",
            help=f"table of {name}, joined to the rows by the column that both have",
        )
    parser.add_argument(
        "--columns",
        metavar="FILE_OR_JSON",
        help='train on tables: what each column is, e.g. {"rating": "label", "user": "category"}',
    )
    parser.add_argument(
        f"--{MODEL_CHANNEL}",
        metavar="PATH_OR_S3_URI",
        help="start from this model.tar.gz, of this algorithm or of the built-in",
    )
    parser.add_argument(
        "--content-type",
        help="of all data; default RecordIO-protobuf, or with --columns by the ends of the files' "
        "names: .parquet, .csv (with a header) or .jsonl",
    )
    parser.add_argument(
        "--distribution",
        choices=["ShardedByS3Key", "FullyReplicated"],
        default="ShardedByS3Key",
        help="of the files over several machines; default %(default)s",
    )
    parser.add_argument(
        "--input-mode",
        choices=["File", "FastFile", "Pipe"],
        default="File",
        help="default %(default)s",
    )
    parser.add_argument(
        "-H",
        "--hyperparameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="e.g. -H num_factors=64; checked here, before a machine is started",
    )
    parser.add_argument(
        "--hyperparameters", type=Path, metavar="FILE", help="JSON object; -H goes before it"
    )
    flags.add_output(parser)
    parser.add_argument("--volume-gb", type=int, default=30, help="disk; default %(default)s")
    parser.add_argument(
        "--max-runtime-s", type=int, default=_MAX_RUNTIME_S, help="default %(default)s"
    )
    parser.add_argument("--spot", action="store_true", help="cheaper machines, may be taken away")
    parser.add_argument(
        "--max-wait-s", type=int, help="with waiting for spot machines; default twice the runtime"
    )
    parser.add_argument(
        "--checkpoints", metavar="S3_URI", help="keep checkpoints there and go on from them"
    )


def from_arguments(arguments: argparse.Namespace, settings: Settings) -> TrainingRequest:
    """Turn the flags into a request.

    Raises
    ------
    UserError
        If something is missing or not allowed, including wrong hyperparameters.
    """
    given = flags.pairs(arguments.hyperparameter, "-H")
    if arguments.hyperparameters is not None:
        given = flags.read_strings(arguments.hyperparameters) | given
    if arguments.columns is not None:
        if "columns" in given:
            raise UserError("--columns is given, and the hyperparameter columns: give one of them")
        given["columns"] = _columns(arguments.columns)
    parse_hyperparameters(given)
    channels, uploads = _channels(arguments, settings)
    return TrainingRequest(
        image=flags.image(arguments, settings),
        role=flags.role(arguments, settings),
        hyperparameters=given,
        channels=channels,
        uploads=uploads,
        output=flags.output(arguments, settings, "models"),
        input_mode=arguments.input_mode,
        instance_type=arguments.instance_type,
        instance_count=arguments.instance_count,
        volume_gb=arguments.volume_gb,
        max_runtime_s=arguments.max_runtime_s,
        max_wait_s=_max_wait_s(arguments),
        checkpoints=arguments.checkpoints,
    )


def _channels(
    arguments: argparse.Namespace, settings: Settings
) -> tuple[tuple[Channel, ...], tuple[Upload, ...]]:
    channels: list[Channel] = []
    uploads: list[Upload] = []
    for name in (*CHANNELS, *SIDE_CHANNELS, MODEL_CHANNEL):
        source: str | None = getattr(arguments, name)
        if source is None:
            continue
        uri, upload = flags.data(source, arguments, settings)
        uploads += [upload] if upload else []
        file = source if upload is None else upload.files[0][1]
        channels.append(_channel(name, uri, file, arguments))
    return tuple(channels), tuple(uploads)


def _channel(name: str, uri: str, file: str, arguments: argparse.Namespace) -> Channel:
    """Return a channel; `file` is the name of its only or first file, or a prefix."""
    # Every machine starts from the whole model, and joins the whole table. Neither can be read
    # from a pipe.
    whole = {"distribution": "FullyReplicated", "input_mode": "File"}
    if name == MODEL_CHANNEL:
        return Channel(name=name, uri=uri, content_type=MODEL_TYPE, **whole)
    content_type: str | None = arguments.content_type
    if content_type is None and arguments.columns is not None:
        content_type = table_type_of(file)
        if content_type is None:
            raise UserError(
                f"--{name} {file}: its name does not end in .parquet, .csv or .jsonl, so add "
                "--content-type"
            )
    if name in SIDE_CHANNELS:
        return Channel(name=name, uri=uri, content_type=content_type, **whole)
    data = {"content_type": content_type, "distribution": arguments.distribution}
    return Channel(name=name, uri=uri, **data)


def _columns(given: str) -> str:
    """Return the columns as short JSON, because AWS limits the text: as given, or of a file."""
    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text("utf-8")
        return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    except (OSError, ValueError) as error:
        raise UserError(f"--columns {given} cannot be read: {error}") from error


def _max_wait_s(arguments: argparse.Namespace) -> int | None:
    max_wait_s: int | None = arguments.max_wait_s
    if not arguments.spot:
        if max_wait_s is not None:
            raise UserError("--max-wait-s is for spot machines only: add --spot")
        return None
    if max_wait_s is None:
        return 2 * int(arguments.max_runtime_s)
    if max_wait_s < arguments.max_runtime_s:
        raise UserError(
            f"--max-wait-s is {max_wait_s}: it holds the runtime too, so at least "
            f"--max-runtime-s, {arguments.max_runtime_s}"
        )
    return max_wait_s
