"""`transform`: score files in S3."""

import argparse
from dataclasses import dataclass
from typing import Any

from deploy.aws import job
from deploy.aws.call import Aws, Call
from deploy.aws.names import LONGEST_BASE
from deploy.aws.uploads import Upload
from deploy.aws.wait import Answer, Patience
from deploy.commands import arguments as flags
from deploy.commands import model
from deploy.commands.model import Model
from deploy.console import Progress, say
from deploy.settings import Settings
from fm_algo.data.formats.content_type import CSV, JSONLINES, RECORDIO_PROTOBUF, parse_content_type

_LIMIT_S = 24 * 3600
_SPLITS = {RECORDIO_PROTOBUF: "RecordIO", JSONLINES: "Line", CSV: "Line"}
"""How SageMaker cuts each type of data into records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """Score files in S3 with a transform job.

    Attributes
    ----------
    name : str
        Name of the job.
    model : Model
    upload : Upload or None
        Local data to upload to S3 first.
    parameters : dict of str to object
        Parameters of CreateTransformJob, without the names of job and model.
    patience : Patience or None
        None means not to wait for the end.
    """

    name: str
    model: Model
    upload: Upload | None
    parameters: dict[str, Any]
    patience: Patience | None

    def calls(self) -> list[Call]:
        """Return the calls: upload, model, job."""
        uploads = self.upload.calls() if self.upload else []
        return [*uploads, self.model.call(), self._create()]

    def run(self, aws: Aws) -> None:
        """Upload what is not in S3 yet, create model and job, wait for the end."""
        if self.upload:
            self.upload.make(aws)
        self.model.make(aws)
        job.create(aws, job.TRANSFORM, self._create())
        if self.patience is not None:
            answer = job.finish(aws, job.TRANSFORM, self.name, self.patience, _show)
            say(f"answers are in {answer['TransformOutput']['S3OutputPath']}, one .out file each")

    def _create(self) -> Call:
        names = {"TransformJobName": self.name, "ModelName": self.model.name}
        return Call("sagemaker", "create_transform_job", names | self.parameters)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    flags.add_name(parser, "job")
    model.add_arguments(parser)
    flags.add_instances(parser, "ml.m5.large")
    parser.add_argument(
        "--input", required=True, metavar="PATH_OR_S3_URI", help="local files are uploaded"
    )
    flags.add_output(parser)
    parser.add_argument("--content-type", default=RECORDIO_PROTOBUF, help="default %(default)s")
    parser.add_argument(
        "--split",
        choices=["None", "Line", "RecordIO"],
        help="of files into records; default by the content type",
    )
    parser.add_argument("--accept", default=JSONLINES, help="of answers; default %(default)s")
    parser.add_argument(
        "--strategy", choices=["MultiRecord", "SingleRecord"], help="default MultiRecord"
    )
    parser.add_argument("--max-payload-mb", type=int, help="of a request; default 6")
    parser.add_argument("--max-concurrent", type=int, help="requests to a machine at once")
    flags.add_waiting(parser, _LIMIT_S)


def from_arguments(arguments: argparse.Namespace, settings: Settings) -> Transform:
    """Turn the flags into the command."""
    name = flags.name(arguments, LONGEST_BASE)
    uri, upload = flags.data(arguments.input, arguments, settings)
    split = arguments.split or _SPLITS.get(parse_content_type(arguments.content_type).name, "None")
    given = {
        "BatchStrategy": arguments.strategy,
        "MaxPayloadInMB": arguments.max_payload_mb,
        "MaxConcurrentTransforms": arguments.max_concurrent,
    }
    return Transform(
        name=name,
        model=model.from_arguments(arguments, settings, name),
        upload=upload,
        parameters={
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
                "ContentType": arguments.content_type,
                "SplitType": split,
            },
            "TransformOutput": {
                "S3OutputPath": flags.output(arguments, settings, f"transform/{name}"),
                "Accept": arguments.accept,
            },
            "TransformResources": {
                "InstanceType": arguments.instance_type,
                "InstanceCount": arguments.instance_count,
            },
            **{key: value for key, value in given.items() if value is not None},
        },
        patience=flags.patience(arguments),
    )


def _show(answer: Answer, progress: Progress) -> None:
    progress.show(answer["TransformJobStatus"])
