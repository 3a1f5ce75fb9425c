"""`endpoint`: let a model answer requests, in real time, serverless, async, or with many models."""

import argparse
from dataclasses import dataclass
from typing import Any

from deploy.aws.call import Aws, Call
from deploy.aws.names import LONGEST_BASE, check_name, content_name
from deploy.aws.wait import Answer, Patience, failure_reason, wait_until
from deploy.commands import arguments as flags
from deploy.commands import model
from deploy.commands.model import Model
from deploy.console import Progress, say
from deploy.settings import Settings
from fm_algo.errors import AlgorithmError, UserError

_LIMIT_S = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Let a model answer requests: create an endpoint for it, or move an existing one to it.

    Attributes
    ----------
    name : str
    model : Model
    capacity : tuple of (str, object)
        Instances or a serverless configuration, as fields of AWS's production variant.
    async_output : str or None
        S3 prefix of answers; None means that answers come back at once.
    patience : Patience or None
        None means to return at once.
    """

    name: str
    model: Model
    capacity: tuple[tuple[str, Any], ...]
    async_output: str | None
    patience: Patience | None

    @property
    def config_name(self) -> str:
        """The name of the configuration at AWS, made from its content."""
        return content_name(self.name, self._config())

    def calls(self) -> list[Call]:
        """Return the calls that make the endpoint if nothing exists yet."""
        return [self.model.call(), self._create_config(), self._change("create_endpoint")]

    def run(self, aws: Aws) -> None:
        """Create what does not exist yet, move the endpoint to it, wait until it serves."""
        self.model.make(aws)
        config_name = self.config_name
        if not aws.find("sagemaker", "describe_endpoint_config", EndpointConfigName=config_name):
            aws.make(self._create_config())
        self._move(aws)
        if self.patience is not None:
            self._wait(aws, self.patience)

    def _move(self, aws: Aws) -> None:
        found = aws.find("sagemaker", "describe_endpoint", EndpointName=self.name)
        if found is None:
            aws.make(self._change("create_endpoint"))
            say(f"endpoint {self.name} is being created")
        elif found["EndpointStatus"] == "Failed":
            raise _failure(self.name, found)
        elif found["EndpointConfigName"] == self.config_name:
            say(f"endpoint {self.name} is there already and as asked for")
        else:
            aws.make(self._change("update_endpoint"))
            say(f"endpoint {self.name} is being updated; it serves the old model until then")

    def _wait(self, aws: Aws, patience: Patience) -> None:
        with Progress(self.name) as progress:

            def ask() -> Answer:
                answer = aws.call("sagemaker", "describe_endpoint", EndpointName=self.name)
                progress.show(answer["EndpointStatus"])
                return answer

            answer = wait_until(ask, _is_settled, f"endpoint {self.name}", patience)
        if answer["EndpointStatus"] != "InService":
            raise _failure(self.name, answer)
        say(f"endpoint {self.name} is in service")

    def _config(self) -> dict[str, Any]:
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": self.model.name,
            "InitialVariantWeight": 1.0,
            **dict(self.capacity),
        }
        config: dict[str, Any] = {"ProductionVariants": [variant]}
        if self.async_output is not None:
            config["AsyncInferenceConfig"] = {"OutputConfig": {"S3OutputPath": self.async_output}}
        return config

    def _create_config(self) -> Call:
        parameters = {"EndpointConfigName": self.config_name, **self._config()}
        return Call("sagemaker", "create_endpoint_config", parameters)

    def _change(self, method: str) -> Call:
        parameters = {"EndpointName": self.name, "EndpointConfigName": self.config_name}
        return Call("sagemaker", method, parameters)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("--name", required=True, help="of the endpoint")
    model.add_arguments(parser)
    flags.add_instances(parser, "ml.m5.large")
    parser.add_argument("--serverless", action="store_true", help="no machines while idle")
    parser.add_argument(
        "--memory-mb",
        type=int,
        choices=range(1024, 6145, 1024),
        default=2048,
        help="serverless: default %(default)s",
    )
    parser.add_argument(
        "--max-concurrency", type=int, default=5, help="serverless: default %(default)s"
    )
    parser.add_argument(
        "--async-output", metavar="S3_URI", help="take requests from S3, put answers there"
    )
    parser.add_argument(
        "--multi-model", action="store_true", help="serve all models below --model, a prefix"
    )
    flags.add_waiting(parser, _LIMIT_S)


def from_arguments(arguments: argparse.Namespace, settings: Settings) -> Endpoint:
    """Turn the flags into the command.

    Raises
    ------
    UserError
        If a flag is missing or flags contradict each other.
    """
    modes = {
        "--serverless": arguments.serverless,
        "--async-output": arguments.async_output is not None,
        "--multi-model": arguments.multi_model,
    }
    chosen = [flag for flag, is_chosen in modes.items() if is_chosen]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} do not go together: choose one")
    name = check_name(arguments.name, LONGEST_BASE)
    return Endpoint(
        name=name,
        model=model.from_arguments(arguments, settings, name, is_multi_model=arguments.multi_model),
        capacity=_capacity(arguments),
        async_output=arguments.async_output,
        patience=flags.patience(arguments),
    )


def _capacity(arguments: argparse.Namespace) -> tuple[tuple[str, Any], ...]:
    if arguments.serverless:
        serverless = {
            "MemorySizeInMB": arguments.memory_mb,
            "MaxConcurrency": arguments.max_concurrency,
        }
        return (("ServerlessConfig", serverless),)
    return (
        ("InstanceType", arguments.instance_type),
        ("InitialInstanceCount", arguments.instance_count),
    )


def _is_settled(answer: Answer) -> bool:
    return not str(answer["EndpointStatus"]).endswith("ing")  # Creating, Updating, RollingBack...


def _failure(name: str, answer: Answer) -> AlgorithmError:
    return AlgorithmError(
        f"endpoint {name} is {answer['EndpointStatus']}: {failure_reason(answer)}; its log is "
        f"/aws/sagemaker/Endpoints/{name}; delete it with `python -m deploy delete endpoint {name}`"
    )
