"""A model at SageMaker: an image, and the S3 location of the artifact."""

import argparse
from dataclasses import dataclass
from typing import Any

from deploy.aws.call import Aws, Call
from deploy.aws.names import content_name
from deploy.commands import arguments as flags
from deploy.console import say
from deploy.settings import Settings
from fm_algo.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The content of a CreateModel request.

    Attributes
    ----------
    base : str
        The beginning of the name: the name of the endpoint or transform job.
    image, role : str
    data : str
        S3 URI of a model.tar.gz, or of a prefix that holds many.
    is_multi_model : bool
    environment : tuple of (str, str)
        Variables of the container.
    """

    base: str
    image: str
    role: str
    data: str
    is_multi_model: bool = False
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The name at AWS, made from the content."""
        return content_name(self.base, self._content())

    def call(self) -> Call:
        """Return the call that creates the model."""
        return Call("sagemaker", "create_model", {"ModelName": self.name, **self._content()})

    def make(self, aws: Aws) -> None:
        """Create the model, unless it exists."""
        if aws.find("sagemaker", "describe_model", ModelName=self.name) is None:
            aws.make(self.call())
            say(f"model {self.name} is created")

    def _content(self) -> dict[str, Any]:
        container: dict[str, Any] = {
            "Image": self.image,
            "Mode": "MultiModel" if self.is_multi_model else "SingleModel",
            "ModelDataUrl": self.data,
            "Environment": dict(self.environment),
        }
        return {"PrimaryContainer": container, "ExecutionRoleArn": self.role}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose a model."""
    flags.add_role(parser)
    flags.add_bucket(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--model", metavar="S3_URI", help="a model.tar.gz, the built-in's as well as ours"
    )
    which.add_argument("--job", help="the training job whose model it is")
    parser.add_argument("--models", metavar="S3_URI", help="where --job put it; default as train")
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="for the container"
    )


def from_arguments(
    arguments: argparse.Namespace, settings: Settings, base: str, *, is_multi_model: bool = False
) -> Model:
    """Turn the flags into a model.

    Raises
    ------
    UserError
        If the model's location is not in S3.
    """
    data: str | None = arguments.model
    if data is None:
        models = (
            arguments.models or f"s3://{flags.bucket(arguments, settings)}/{flags.FOLDER}/models"
        )
        data = f"{models.rstrip('/')}/{arguments.job}/output/model.tar.gz"
    if not data.startswith("s3://"):
        raise UserError(f"--model {data}: SageMaker reads models from S3: give s3://bucket/key")
    if is_multi_model and not data.endswith("/"):
        raise UserError(f"--model {data}: a multi-model endpoint takes a prefix that ends in /")
    return Model(
        base=base,
        image=flags.image(arguments, settings),
        role=flags.role(arguments, settings),
        data=data,
        is_multi_model=is_multi_model,
        environment=tuple(flags.pairs(arguments.env, "--env").items()),
    )
