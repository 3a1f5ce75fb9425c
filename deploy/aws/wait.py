"""Wait until AWS is done, for a limited time."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.aws.call import CallError
from fm_algo.errors import UserError

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait and how often to ask.

    Attributes
    ----------
    limit_s : float
        The wait fails after this time.
    poll_s : float
        Time between two questions.
    """

    limit_s: float
    poll_s: float


def failure_reason(answer: Answer) -> str:
    """Return in one line AWS's reason for a failure."""
    return " ".join(answer.get("FailureReason", "AWS gives no reason").split())


def wait_until(
    ask: Callable[[], Answer], is_done: Callable[[Answer], bool], what: str, patience: Patience
) -> Answer:
    """Ask until the answer says that the thing is done, and return that answer.

    A throttled question changes nothing, so it is asked again.

    Raises
    ------
    UserError
        If the limit passes, or a question fails for another reason.
    """
    end = time.monotonic() + patience.limit_s
    while True:
        try:
            answer = ask()
        except CallError as error:
            if not error.is_passing:
                raise
        else:
            if is_done(answer):
                return answer
        if time.monotonic() + patience.poll_s > end:
            raise UserError(
                f"{what} is not done after {patience.limit_s:g} s; it goes on at AWS: to wait "
                "longer, give the same command with this --name and a longer --limit-s"
            )
        time.sleep(patience.poll_s)
