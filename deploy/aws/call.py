"""Check a call of AWS, make it, and report its failure in one line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.exceptions
import botocore.session
import botocore.validate
from boto3.exceptions import Boto3Error
from botocore.config import Config

from fm_algo.errors import UserError

_AGAIN = "run the same command again: what is done already is not done twice"
_ADVICE = {
    "AccessDenied": "give your user or role the permission named here",
    "ExpiredToken": "log in again, e.g. `aws sso login`",
    "InvalidClientTokenId": "check AWS_PROFILE or the access key",
    "ResourceLimitExceeded": "ask for more in Service Quotas, or take another instance type",
    "UnrecognizedClient": "check AWS_PROFILE or the access key",
    "NoSuchBucket": "create the bucket, or name another with --bucket",
}
"""What to do, by the beginning of the error's code."""
_PASSING = ("Throttling", "TooManyRequests", "RequestLimit", "ServiceUnavailable", "Internal")
"""Beginnings of the codes of errors that pass by themselves."""
_LOCAL_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (botocore.exceptions.NoRegionError, "give --region or set AWS_REGION"),
    (botocore.exceptions.NoCredentialsError, "set AWS_PROFILE, or run `aws configure`"),
    (botocore.exceptions.TokenRetrievalError, "log in again, e.g. `aws sso login`"),
    (botocore.exceptions.ParamValidationError, "correct the value named here"),
)
_NETWORK = (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError)
_MISSING_WORDS = ("could not find", "not found", "does not exist", "doesn't exist")


class CallError(UserError):
    """A call of AWS failed. A wait goes on after a throttle; some callers accept a missing thing.

    Parameters
    ----------
    message : str
        One line that says what to do.
    code : str
        The code in AWS's answer; empty if there was none.
    is_missing : bool
        Whether the requested thing does not exist.
    is_passing : bool
        Whether the same call may succeed later.
    """

    def __init__(
        self, message: str, code: str = "", *, is_missing: bool = False, is_passing: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.is_missing = is_missing
        self.is_passing = is_passing


@dataclass(frozen=True, slots=True)
class Call:
    """One call of AWS, as boto3 takes it.

    Attributes
    ----------
    service : str
        E.g. sagemaker.
    method : str
        A method of the service's client, e.g. create_training_job.
    parameters : mapping of str to object
        Its keyword arguments.
    """

    service: str
    method: str
    parameters: Mapping[str, Any]

    def as_json(self) -> dict[str, object]:
        """Return what a dry run prints."""
        parameters = dict(self.parameters)
        return {"service": self.service, "method": self.method, "parameters": parameters}

    def check(self) -> None:
        """Check the parameters against AWS's description of the service, without a network.

        Raises
        ------
        UserError
            Lists every name, type and length that does not fit.
        """
        words = "".join(word.capitalize() for word in self.method.split("_"))
        model = botocore.session.get_session().get_service_model(self.service)
        by_name = {name.lower(): name for name in model.operation_names}
        if words.lower() not in by_name:  # a boto3 helper that makes several calls
            return
        shape = model.operation_model(by_name[words.lower()]).input_shape
        report = botocore.validate.ParamValidator().validate(dict(self.parameters), shape)
        if report.has_errors():
            problems = "; ".join(report.generate_report().splitlines())
            raise UserError(f"{self.service} {self.method}: {problems}")


class Aws:
    """AWS through boto3.

    boto3's standard mode retries a failing call; AWS_MAX_ATTEMPTS says how often.

    Parameters
    ----------
    region : str or None
        None means the region of the AWS profile.
    """

    def __init__(self, region: str | None) -> None:
        self._region = region
        self._clients: dict[str, Any] = {}

    def make(self, call: Call) -> dict[str, Any]:
        """Make a call and return AWS's answer.

        Raises
        ------
        CallError
            If the call fails; says in one line what AWS answered and what to do.
        """
        try:
            answer = getattr(self._client(call.service), call.method)(**call.parameters)
        except botocore.exceptions.ClientError as error:
            raise _explain_answer(call, error) from error
        except (botocore.exceptions.BotoCoreError, Boto3Error) as error:
            raise _explain_failure(call, error) from error
        return answer or {}

    def call(self, service: str, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of a service with keyword arguments; see `make`."""
        return self.make(Call(service, method, parameters))

    def find(self, service: str, method: str, **parameters: object) -> dict[str, Any] | None:
        """Make a call that asks for a thing; return None if the thing does not exist."""
        try:
            return self.call(service, method, **parameters)
        except CallError as error:
            if error.is_missing:
                return None
            raise

    def _client(self, service: str) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        if service not in self._clients:
            config = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard"})
            self._clients[service] = boto3.client(service, region_name=self._region, config=config)
        return self._clients[service]


def _explain_answer(call: Call, error: botocore.exceptions.ClientError) -> CallError:
    answer = error.response.get("Error", {})
    code, said = answer.get("Code", ""), answer.get("Message", "")
    is_passing = code.startswith(_PASSING)
    advice = next((text for start, text in _ADVICE.items() if code.startswith(start)), None)
    if is_passing:
        advice = f"wait a minute and {_AGAIN}"
    told = f"{code}: {said}"
    is_missing = _means_missing(code, said)
    return CallError(
        _one_line(call, told, advice), code, is_missing=is_missing, is_passing=is_passing
    )


def _means_missing(code: str, said: str) -> bool:
    """Return whether a thing is missing: SageMaker's code for it also means a malformed request."""
    if code.startswith("Validation"):
        return any(words in said.lower() for words in _MISSING_WORDS)
    return code in {"404", "NoSuchKey", "ResourceNotFound"} or code.endswith("NotFoundException")


def _explain_failure(call: Call, error: Exception) -> CallError:
    advice = next((text for kind, text in _LOCAL_ADVICE if isinstance(error, kind)), None)
    is_passing = isinstance(error, _NETWORK)
    if is_passing:
        advice = f"check --region and the network, then {_AGAIN}"
    return CallError(_one_line(call, str(error), advice), is_passing=is_passing)


def _one_line(call: Call, told: str, advice: str | None) -> str:
    words = " ".join(told.split())
    return f"{call.service} {call.method}: {words}" + (f"; {advice}" if advice else "")
