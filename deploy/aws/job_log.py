"""Read the log of a job in CloudWatch, each time from where the last reading ended."""

from collections.abc import Iterator

from deploy.aws.call import Aws

TRAINING_LOG = "/aws/sagemaker/TrainingJobs"


class JobLog:
    """The streams of one job, one or more per host.

    Parameters
    ----------
    aws : Aws
    group : str
        Log group.
    job : str
        The part of the streams' names before the slash.
    """

    def __init__(self, aws: Aws, group: str, job: str) -> None:
        self._aws = aws
        self._group = group
        self._prefix = f"{job}/"
        self._positions: dict[str, str] = {}

    def new_lines(self) -> Iterator[str]:
        """Return the lines since the last call; none while the log does not exist yet."""
        streams = list(self._streams())
        for stream in streams:
            mark = f"{stream.removeprefix(self._prefix)}: " if len(streams) > 1 else ""
            for line in self._lines(stream):
                yield mark + line

    def _streams(self) -> Iterator[str]:
        place = {"logGroupName": self._group, "logStreamNamePrefix": self._prefix}
        while True:
            page = self._aws.find("logs", "describe_log_streams", **place) or {}
            for stream in page.get("logStreams", []):
                yield stream["logStreamName"]
            if not page.get("nextToken"):
                return
            place["nextToken"] = page["nextToken"]

    def _lines(self, stream: str) -> Iterator[str]:
        place: dict[str, object] = {"logGroupName": self._group, "logStreamName": stream}
        while True:
            position = self._positions.get(stream)
            page = self._aws.call(
                "logs",
                "get_log_events",
                startFromHead=True,
                **place,
                **({"nextToken": position} if position else {}),
            )
            for event in page["events"]:
                yield event["message"].rstrip()
            if page["nextForwardToken"] == position:  # CloudWatch's sign of the present end
                return
            self._positions[stream] = page["nextForwardToken"]
