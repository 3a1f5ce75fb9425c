"""The error tree.

    FMError
    ├── UserError       the caller can fix it: data, hyperparameters, a request
    ├── AlgorithmError  valid input, wrong outcome: training diverged
    └── PlatformError   the machine broke its side: a mount, the disk

A message says what was found, what is allowed and where. It is one line and needs no traceback
beside it. The three kinds are those of the SageMaker built-in algorithms (ClientError,
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
        """Return the same error with the place it happened in put before its message.

        A parser knows the record, its caller knows the file: each adds what it knows.
        """
        return type(self)(f"{place}, {self.message}")


class UserError(FMError):
    """The caller can fix it.

    Parameters
    ----------
    message : str
        As in `FMError`.
    http_status : int
        What a server answers with: 400 payload, 415 content type, 406 accept, 413 size.
    """

    def __init__(self, message: str, http_status: int = 400) -> None:
        super().__init__(message)
        self.http_status = http_status

    def within(self, place: str) -> Self:
        """Return the same error, status included, with `place` before its message."""
        return type(self)(f"{place}, {self.message}", self.http_status)


class AlgorithmError(FMError):
    """The input was valid, the outcome is not."""


class PlatformError(FMError):
    """The machine broke its side of the contract."""


def as_told(error: BaseException) -> FMError:
    """Return what is said of an error: the same, or one of ours in place of another."""
    if isinstance(error, FMError):
        return error
    if isinstance(error, MemoryError):
        return UserError(f"out of memory: use a larger instance ({error})")
    return AlgorithmError(f"internal error: {error} (caused by {type(error).__name__})")
