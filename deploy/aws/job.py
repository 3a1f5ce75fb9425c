"""Create a job of any kind once under its name, and wait until it ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.aws.call import Aws, Call
from deploy.aws.wait import Answer, Patience, failure_reason, wait_until
from deploy.console import Progress, say
from fm_algo.errors import AlgorithmError, UserError

_ENDS = ("Completed", "Failed", "Stopped")
_OBSERVERS = ("MetricDefinitions", "DebugHookConfig", "ProfilerConfig")
"""Parameters that only say how to watch a job: a change of them does not make another job."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """How AWS names a kind of job and its calls.

    Attributes
    ----------
    words : str
        The name for people, e.g. training job.
    calls : str
        The name in methods: create_<calls>, describe_<calls>, stop_<calls>.
    field : str
        The name in fields: <field>Name, <field>Status.
    """

    words: str
    calls: str
    field: str

    def describe(self, aws: Aws, name: str) -> Answer | None:
        """Return AWS's description of the job; None if no job has that name."""
        key = {f"{self.field}Name": name}
        return aws.find("sagemaker", f"describe_{self.calls}", **key)

    def status(self, answer: Answer) -> str:
        """Return the job's status from an answer."""
        return str(answer[f"{self.field}Status"])

    def is_over(self, answer: Answer) -> bool:
        """Whether the job has ended, well or not."""
        return self.status(answer) in _ENDS


TRAINING = JobKind("training job", "training_job", "TrainingJob")
TRANSFORM = JobKind("transform job", "transform_job", "TransformJob")
TUNING = JobKind("tuning job", "hyper_parameter_tuning_job", "HyperParameterTuningJob")


def create(aws: Aws, kind: JobKind, call: Call) -> None:
    """Create the job, unless it exists already with the same name and parameters.

    Raises
    ------
    UserError
        If a job with other parameters has the name.
    """
    name = call.parameters[f"{kind.field}Name"]
    found = kind.describe(aws, name)
    if found is None:
        aws.make(call)
        say(f"{kind.words} {name} is created")
        return
    other = _differences(call.parameters, found)
    if other:
        raise UserError(
            f"a {kind.words} {name} exists already, with another {', '.join(other)}: AWS never "
            "gives a job's name again, so take another --name"
        )
    say(f"{kind.words} {name} exists already, with the same parameters")


def finish(
    aws: Aws,
    kind: JobKind,
    name: str,
    patience: Patience,
    watch: Callable[[Answer, Progress], None],
) -> Answer:
    """Wait until the job ends, and return AWS's description of it.

    `watch` gets each answer, including the last one, and the progress bar to show it on.

    Raises
    ------
    AlgorithmError
        If the job failed; gives AWS's reason.
    UserError
        If the job was stopped, or the wait reaches its limit.
    """
    with Progress(name) as progress:

        def ask() -> Answer:
            answer = aws.call("sagemaker", f"describe_{kind.calls}", **{f"{kind.field}Name": name})
            watch(answer, progress)
            return answer

        answer = wait_until(ask, kind.is_over, f"{kind.words} {name}", patience)
    status = kind.status(answer)
    if status == "Failed":
        raise AlgorithmError(f"{kind.words} {name} failed: {failure_reason(answer)}")
    if status == "Stopped":
        raise UserError(f"{kind.words} {name} was stopped before its end")
    return answer


def _differences(asked: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Name the requested parameters that differ in AWS's description."""
    return [
        name
        for name, value in asked.items()
        if name not in _OBSERVERS and not _holds(found.get(name), value)
    ]


def _holds(found: object, asked: object) -> bool:
    """Return whether AWS's description matches the request; AWS may add its own defaults."""
    if isinstance(asked, Mapping):
        return isinstance(found, Mapping) and not _differences(asked, found)
    if isinstance(asked, list):
        return (
            isinstance(found, list) and len(found) == len(asked) and all(map(_holds, found, asked))
        )
    return found == asked
