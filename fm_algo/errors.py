"""The errors that this package raises.

    FMError
    ├── UserError       the caller can fix it: data, hyperparameters, a request
    ├── AlgorithmError  valid input, wrong outcome: training diverged
    └── PlatformError   the machine broke its side: a mount, the disk

A message says what was found, what is allowed and where. It is one line and makes sense without a
traceback. The three kinds are those of the SageMaker built-in algorithms (ClientError,
AlgorithmError, InternalServerError).
"""

from typing import Self


class FMError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    message : str
        One line: what was found, what is allowed, where.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def within(self, place: str) -> Self:
        """Return the same error with its place put before the message.

        A parser knows the record, its caller knows the file. Each adds what it knows.
        """
        return type(self)(f"{place}, {self.message}")


class UserError(FMError):
    """The caller can fix it.

    Parameters
    ----------
    message : str
        As in `FMError`.
    http_status : int
        The status a server answers with: 400 payload, 415 content type, 406 accept, 413 size.
    """

    def __init__(self, message: str, http_status: int = 400) -> None:
        super().__init__(message)
        self.http_status = http_status

    def within(self, place: str) -> Self:
        """Return the same error, status included, with `place` before its message."""
        return type(self)(f"{place}, {self.message}", self.http_status)


class AlgorithmError(FMError):
    """The input was valid, but the outcome is not."""


class PlatformError(FMError):
    """The machine broke its side of the contract."""


def as_told(error: BaseException) -> FMError:
    """Return the error to report: an `FMError` as it is, one of ours in place of any other.

    What to do, as far as a MemoryError has notes on it, follows.
    """
    if isinstance(error, FMError):
        return error
    if isinstance(error, MemoryError):
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()) if note)
        return UserError(f"out of memory: use a larger instance ({error}){notes}")
    return AlgorithmError(f"internal error: {error} (caused by {type(error).__name__})")
