"""`register-algorithm`: make the image an algorithm of your account, with declared settings."""

import argparse
from dataclasses import dataclass
from typing import Any

from deploy.aws.call import Aws, Call
from deploy.aws.names import LONGEST_NAME, check_name
from deploy.aws.wait import Answer, Patience, wait_until
from deploy.commands import arguments as flags
from deploy.commands.training_request import (
    CHANNELS,
    MODEL_CHANNEL,
    MODEL_TYPE,
    SIDE_CHANNELS,
)
from deploy.console import say
from deploy.hyperparameter_specification import specifications
from deploy.metric_definitions import METRIC_DEFINITIONS, OBJECTIVES
from deploy.settings import Settings
from fm_algo.data.formats.content_type import (
    CSV,
    JSON,
    JSONLINES,
    LIBFFM,
    LIBSVM,
    PARQUET,
    RECORDIO_PROTOBUF,
)
from fm_algo.errors import AlgorithmError

_LIMIT_S = 600
_TABLE_TYPES = [PARQUET, f"{CSV};header=present", JSONLINES]
_TRAINING_TYPES = [RECORDIO_PROTOBUF, CSV, LIBSVM, LIBFFM, *_TABLE_TYPES]
_REQUEST_TYPES = [JSON, JSONLINES, RECORDIO_PROTOBUF, CSV, LIBSVM, LIBFFM, PARQUET]
_ANSWER_TYPES = [JSON, JSONLINES, RECORDIO_PROTOBUF, CSV]
_TRAINING_INSTANCES = [
    *(f"ml.m5.{size}" for size in ("large", "xlarge", "2xlarge", "4xlarge", "12xlarge")),
    *(f"ml.c5.{size}" for size in ("xlarge", "2xlarge", "4xlarge", "9xlarge", "18xlarge")),
    *(f"ml.g5.{size}" for size in ("xlarge", "2xlarge", "4xlarge")),
]
_SERVING_INSTANCES = [
    *(f"ml.m5.{size}" for size in ("large", "xlarge", "2xlarge", "4xlarge")),
    *(f"ml.c5.{size}" for size in ("large", "xlarge", "2xlarge", "4xlarge")),
]
_TEXTS = {
    "train": "Labelled rows to train on.",
    "test": "Labelled rows, scored once at the end.",
    "validation": "Labelled rows, scored after each epoch.",
    "items": "A table of all items, joined to rows that are tables.",
    "users": "A table of users, joined to rows that are tables.",
    MODEL_CHANNEL: "A model to start from.",
}


@dataclass(frozen=True, slots=True)
class RegisterAlgorithm:
    """Make the image an algorithm of the account.

    Attributes
    ----------
    name : str
        Name of the algorithm.
    image : str
    patience : Patience or None
        None means to return at once.
    """

    name: str
    image: str
    patience: Patience | None

    def calls(self) -> list[Call]:
        """Return the only call."""
        parameters = {
            "AlgorithmName": self.name,
            "AlgorithmDescription": "Factorization machines, as SageMaker's built-in has them",
            "TrainingSpecification": self._training(),
            "InferenceSpecification": self._inference(),
            "CertifyForMarketplace": False,
        }
        return [Call("sagemaker", "create_algorithm", parameters)]

    def run(self, aws: Aws) -> None:
        """Create the algorithm, unless its name exists; wait until AWS has checked it."""
        if aws.find("sagemaker", "describe_algorithm", AlgorithmName=self.name) is not None:
            say(f"algorithm {self.name} exists already; algorithms cannot be changed at AWS")
        else:
            aws.make(self.calls()[0])
        if self.patience is not None:
            self._wait(aws, self.patience)

    def _wait(self, aws: Aws, patience: Patience) -> None:
        def ask() -> Answer:
            return aws.call("sagemaker", "describe_algorithm", AlgorithmName=self.name)

        def is_done(answer: Answer) -> bool:
            return answer["AlgorithmStatus"] in {"Completed", "Failed"}

        answer = wait_until(ask, is_done, f"algorithm {self.name}", patience)
        if answer["AlgorithmStatus"] == "Failed":
            raise AlgorithmError(f"algorithm {self.name} failed AWS's check: {_reasons(answer)}")
        say(f"algorithm {self.name}: {answer['AlgorithmArn']}")

    def _training(self) -> dict[str, Any]:
        return {
            "TrainingImage": self.image,
            "SupportedHyperParameters": specifications(),
            "SupportedTrainingInstanceTypes": _TRAINING_INSTANCES,
            "SupportsDistributedTraining": True,
            "MetricDefinitions": [metric.as_request() for metric in METRIC_DEFINITIONS],
            "TrainingChannels": [
                *(
                    _channel(name, _TRAINING_TYPES, ["File", "FastFile", "Pipe"])
                    for name in CHANNELS
                ),
                *(_channel(name, _TABLE_TYPES, ["File", "FastFile"]) for name in SIDE_CHANNELS),
                _channel(MODEL_CHANNEL, [MODEL_TYPE], ["File"]),
            ],
            "SupportedTuningJobObjectiveMetrics": [
                {"Type": goal, "MetricName": name} for name, goal in OBJECTIVES.items()
            ],
        }

    def _inference(self) -> dict[str, Any]:
        return {
            "Containers": [{"Image": self.image}],
            "SupportedTransformInstanceTypes": _SERVING_INSTANCES,
            "SupportedRealtimeInferenceInstanceTypes": _SERVING_INSTANCES,
            "SupportedContentTypes": _REQUEST_TYPES,
            "SupportedResponseMIMETypes": _ANSWER_TYPES,
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("--name", default="fm-algo", help="default %(default)s")
    flags.add_image(parser)
    flags.add_waiting(parser, _LIMIT_S)


def from_arguments(arguments: argparse.Namespace, settings: Settings) -> RegisterAlgorithm:
    """Turn the flags into the command."""
    return RegisterAlgorithm(
        name=check_name(arguments.name, LONGEST_NAME),
        image=flags.image(arguments, settings),
        patience=flags.patience(arguments),
    )


def _channel(name: str, content_types: list[str], input_modes: list[str]) -> dict[str, Any]:
    return {
        "Name": name,
        "Description": _TEXTS[name],
        "IsRequired": name == "train",
        "SupportedContentTypes": content_types,
        "SupportedCompressionTypes": ["None"] if name == MODEL_CHANNEL else ["None", "Gzip"],
        "SupportedInputModes": input_modes,
    }


def _reasons(answer: Answer) -> str:
    details = answer.get("AlgorithmStatusDetails", {})
    items = [*details.get("ValidationStatuses", []), *details.get("ImageScanStatuses", [])]
    reasons = [" ".join(item["FailureReason"].split()) for item in items if "FailureReason" in item]
    return "; ".join(reasons) or "AWS gives no reason"
