"""`train`: run one training job, from local data to final metrics."""

import argparse
import re
import time
from dataclasses import dataclass
from typing import Any

from deploy.aws import job
from deploy.aws.call import Aws, Call
from deploy.aws.job_log import TRAINING_LOG, JobLog
from deploy.aws.names import LONGEST_NAME
from deploy.aws.wait import Answer, Patience
from deploy.commands import arguments as flags
from deploy.commands import training_request
from deploy.commands.training_request import TrainingRequest
from deploy.console import Progress, say, say_table
from deploy.metric_definitions import PROGRESS
from deploy.settings import Settings

_LIMIT_S = 26 * 3600
"""One day, the default limit of a job's runtime, plus time to start."""
_LOG_DELAY_S = 5
"""Time for the last lines to reach CloudWatch after the end of the job."""


@dataclass(frozen=True, slots=True)
class Train:
    """Run one training job.

    Attributes
    ----------
    name : str
        Name of the job.
    request : TrainingRequest
    with_debugger : bool
        Whether to send what the AWS SDK sends for its Debugger and profiler, which cost nothing by
        themselves.
    patience : Patience or None
        None means not to follow the job.
    """

    name: str
    request: TrainingRequest
    with_debugger: bool
    patience: Patience | None

    def calls(self) -> list[Call]:
        """Return the calls: uploads, then the job."""
        return [*self.request.upload_calls(), self._create()]

    def run(self, aws: Aws) -> None:
        """Upload what is not in S3 yet, create the job, follow its log, print the results."""
        self.request.upload(aws)
        job.create(aws, job.TRAINING, self._create())
        if self.patience is not None:
            _report(self._follow(aws, self.patience))

    def _create(self) -> Call:
        output = self.request.output
        parameters: dict[str, Any] = {
            "TrainingJobName": self.name,
            **self.request.common(),
            "HyperParameters": dict(self.request.hyperparameters),
            "ResourceConfig": self.request.resources(),
        }
        if self.with_debugger:
            parameters["DebugHookConfig"] = {"S3OutputPath": output, "CollectionConfigurations": []}
            parameters["ProfilerConfig"] = {"S3OutputPath": output, "DisableProfiler": False}
        return Call("sagemaker", "create_training_job", parameters)

    def _follow(self, aws: Aws, patience: Patience) -> Answer:
        log = JobLog(aws, TRAINING_LOG, self.name)

        def watch(answer: Answer, progress: Progress) -> None:
            progress.show(answer.get("SecondaryStatus", answer["TrainingJobStatus"]))
            if job.TRAINING.is_over(answer):
                time.sleep(min(patience.poll_s, _LOG_DELAY_S))
            for line in log.new_lines():
                say(line)
                found = re.search(PROGRESS.regex, line)
                if found:
                    progress.show("Training", float(found[1]))

        return job.finish(aws, job.TRAINING, self.name, patience, watch)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    flags.add_name(parser, "job")
    training_request.add_arguments(parser)
    parser.add_argument(
        "--no-debugger",
        action="store_true",
        help="leave out the settings of AWS's Debugger, which some regions do not have",
    )
    flags.add_waiting(parser, _LIMIT_S)


def from_arguments(arguments: argparse.Namespace, settings: Settings) -> Train:
    """Turn the flags into the command."""
    return Train(
        name=flags.name(arguments, LONGEST_NAME),
        request=training_request.from_arguments(arguments, settings),
        with_debugger=not arguments.no_debugger,
        patience=flags.patience(arguments),
    )


def _report(answer: Answer) -> None:
    final = answer.get("FinalMetricDataList", [])
    metrics = {metric["MetricName"]: metric["Value"] for metric in final}
    say_table(
        {
            **metrics,
            "billable seconds": answer.get("BillableTimeInSeconds", "not known yet"),
            "model": answer["ModelArtifacts"]["S3ModelArtifacts"],
        }
    )
