"""`delete`: stop jobs and remove things, so that they cost nothing; missing things are no error."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from deploy.aws import job
from deploy.aws.call import Aws, Call
from deploy.aws.job import JobKind
from deploy.aws.names import is_content_name
from deploy.console import say
from deploy.settings import Settings


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a thing, or stop a job.

    Attributes
    ----------
    kind : str
        The kind of thing: a key of `KINDS`.
    name : str
    """

    kind: str
    name: str

    def calls(self) -> list[Call]:
        """Return the calls, except for models and configurations, whose names only AWS knows."""
        return [_CALLS[self.kind](self.name)]

    def run(self, aws: Aws) -> None:
        """Delete or stop it, and delete the models and configurations made for it."""
        call = self.calls()[0]
        kind = _JOBS.get(self.kind)
        if kind is not None:
            _stop(aws, kind, self.name, call)
        else:
            _remove(aws, f"{self.kind} {self.name}", call)
        if self.kind == "endpoint":
            for name in _made_for(aws, "list_endpoint_configs", "EndpointConfig", self.name):
                _remove(aws, f"configuration {name}", _sagemaker("endpoint_config")(name))
        if self.kind in {"endpoint", "transform-job"}:
            for name in _made_for(aws, "list_models", "Model", self.name):
                _remove(aws, f"model {name}", _sagemaker("model")(name))


def _sagemaker(thing: str) -> Callable[[str], Call]:
    """Return a function that makes the call to delete a thing of that kind."""
    field = "".join(word.capitalize() for word in thing.split("_"))
    return lambda name: Call("sagemaker", f"delete_{thing}", {f"{field}Name": name})


def _stopping(kind: JobKind) -> Callable[[str], Call]:
    """Return a function that makes the call to stop a job of that kind."""
    return lambda name: Call("sagemaker", f"stop_{kind.calls}", {f"{kind.field}Name": name})


_JOBS = {"training-job": job.TRAINING, "transform-job": job.TRANSFORM, "tuning-job": job.TUNING}
_CALLS: dict[str, Callable[[str], Call]] = {
    "endpoint": _sagemaker("endpoint"),
    "model": _sagemaker("model"),
    "algorithm": _sagemaker("algorithm"),
    "repository": lambda name: Call(
        "ecr", "delete_repository", {"repositoryName": name, "force": True}
    ),
    **{name: _stopping(kind) for name, kind in _JOBS.items()},
}
KINDS = tuple(_CALLS)


def _stop(aws: Aws, kind: JobKind, name: str, call: Call) -> None:
    """Stop a running job; AWS keeps its record."""
    found = kind.describe(aws, name)
    if found is None:
        say(f"{kind.words} {name} does not exist")
    elif kind.is_over(found):
        say(f"{kind.words} {name} has ended: {kind.status(found)}")
    else:
        aws.make(call)
        say(f"{kind.words} {name} is being stopped")


def _remove(aws: Aws, what: str, call: Call) -> None:
    is_gone = aws.find(call.service, call.method, **call.parameters) is None
    say(f"{what} {'does not exist' if is_gone else 'is deleted'}")


def _made_for(aws: Aws, method: str, field: str, base: str) -> list[str]:
    """Return the names that were made from this base and the content of a thing."""
    names: list[str] = []
    place: dict[str, object] = {"NameContains": base}
    while True:
        page = aws.call("sagemaker", method, **place)
        found = [entry[f"{field}Name"] for entry in page[f"{field}s"]]
        names += [name for name in found if is_content_name(name, base)]
        if not page.get("NextToken"):
            return names
        place["NextToken"] = page["NextToken"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("kind", choices=KINDS, help="jobs are stopped; AWS keeps their record")
    parser.add_argument("name")


def from_arguments(arguments: argparse.Namespace, settings: Settings) -> Delete:
    """Turn the flags into the command."""
    del settings
    return Delete(arguments.kind, arguments.name)
