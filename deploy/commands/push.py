"""`push`: push a local image to ECR with the docker program."""

import argparse
import base64
import subprocess
from dataclasses import dataclass

from deploy.aws.call import Aws, Call, CallError
from deploy.console import say
from deploy.settings import Settings
from fm_algo.errors import UserError

_PUSH_LIMIT_S = 3600
_AUTHORIZE = Call("ecr", "get_authorization_token", {})


@dataclass(frozen=True, slots=True)
class DockerCommand:
    """One command of the docker program.

    Attributes
    ----------
    words : tuple of str
        Program and arguments, never a password.
    limit_s : float
    """

    words: tuple[str, ...]
    limit_s: float = 120

    def check(self) -> None:
        """Check nothing: only docker knows its commands."""

    def as_json(self) -> dict[str, object]:
        """Return what a dry run prints."""
        return {"command": list(self.words)}

    def run(self, password: str | None = None) -> None:
        """Run the command; a password goes to its standard input.

        Raises
        ------
        UserError
            If docker is missing, takes too long, or fails; repeats docker's message.
        """
        text = " ".join(self.words)
        say(text)
        try:
            ended = subprocess.run(  # noqa: S603 - a fixed program; no shell sees its arguments
                self.words,
                input=password,
                text=True,
                capture_output=True,
                timeout=self.limit_s,
                check=False,
            )
        except FileNotFoundError as error:
            raise UserError("docker is not on the PATH: install it, or push elsewhere") from error
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{text} took longer than {self.limit_s:g} s") from error
        if ended.returncode != 0:
            said = " ".join((ended.stderr or ended.stdout).split())
            raise UserError(f"{text} ended with {ended.returncode}: {said}")


@dataclass(frozen=True, slots=True)
class Push:
    """Push a local image to ECR.

    Attributes
    ----------
    image : str
        The local image, e.g. fm-algo:latest.
    repository : str
        Name of the repository in ECR.
    tag : str
    """

    image: str
    repository: str
    tag: str

    def calls(self) -> list[Call | DockerCommand]:
        """Return calls and commands, with placeholders for account and region that AWS knows."""
        uri = f"ACCOUNT.dkr.ecr.REGION.amazonaws.com/{self.repository}"
        return [self._create(), _AUTHORIZE, *self._docker(uri)]

    def run(self, aws: Aws) -> None:
        """Make sure that the repository exists, log in, tag and push."""
        uri = self._repository_uri(aws)
        token = aws.make(_AUTHORIZE)["authorizationData"][0]["authorizationToken"]
        login, tag, push = self._docker(uri)
        login.run(password=base64.b64decode(token).decode().partition(":")[2])
        tag.run()
        push.run()
        say(f"image {uri}:{self.tag}")

    def _create(self) -> Call:
        scanning = {"scanOnPush": True}
        parameters = {"repositoryName": self.repository, "imageScanningConfiguration": scanning}
        return Call("ecr", "create_repository", parameters)

    def _docker(self, uri: str) -> tuple[DockerCommand, DockerCommand, DockerCommand]:
        target = f"{uri}:{self.tag}"
        registry = uri.partition("/")[0]
        return (
            DockerCommand(("docker", "login", "--username", "AWS", "--password-stdin", registry)),
            DockerCommand(("docker", "tag", self.image, target)),
            DockerCommand(("docker", "push", target), _PUSH_LIMIT_S),
        )

    def _repository_uri(self, aws: Aws) -> str:
        try:
            return str(aws.make(self._create())["repository"]["repositoryUri"])
        except CallError as error:
            if error.code != "RepositoryAlreadyExistsException":
                raise
        found = aws.call("ecr", "describe_repositories", repositoryNames=[self.repository])
        return str(found["repositories"][0]["repositoryUri"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("--image", default="fm-algo", help="the local image; default %(default)s")
    parser.add_argument("--repository", default="fm-algo", help="in ECR; default %(default)s")
    parser.add_argument("--tag", default="latest", help="in ECR; default %(default)s")


def from_arguments(arguments: argparse.Namespace, settings: Settings) -> Push:
    """Turn the flags into the command."""
    del settings  # FM_IMAGE_URI is the image in ECR, but this command means the local image
    return Push(arguments.image, arguments.repository, arguments.tag)
