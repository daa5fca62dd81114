"""Every error that a user can meet, in one small tree.

Each class carries the exit code that the command line ends with, so that no surface decides by message text.
A message says what was expected, what came and what to do next.
"""

from __future__ import annotations


class MlopsError(Exception):
    """Base of all expected errors.

    ``hint`` is the next step for the user; ``exit_code`` is what the command line ends with.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[MlopsError], message: str, hint: str) -> MlopsError:
    return kind(message, hint=hint)


class UsageError(MlopsError, ValueError):
    """Bad usage or bad input: an unknown option, an ill-typed parameter, a file that is not what it should be."""


class TargetNotFoundError(MlopsError, LookupError):
    """The run, variable, file or cell that was named does not exist."""


class UserCodeError(MlopsError, RuntimeError):
    """A cell of the user's raised."""

    exit_code = 1


class CheckFailedError(MlopsError, RuntimeError):
    """A gate or a validation said no."""

    exit_code = 3


class UnreachableError(MlopsError, ConnectionError):
    """A server or cluster that is needed cannot be reached."""

    exit_code = 5


class TransientError(MlopsError, RuntimeError):
    """The infrastructure failed and a retry may help: the kernel died, the store is busy, the disk is full."""

    exit_code = 75


class ConflictError(TransientError):
    """A record is not as it was when it was read; reading it again and repeating may help."""


class RunTimeoutError(MlopsError, TimeoutError):
    """A time limit was reached."""

    exit_code = 124


class NewerSchemaError(UsageError):
    """The database was written by a newer version of this package."""


class CorruptObjectError(MlopsError, ValueError):
    """Bytes that are kept under a digest are not those that the digest names."""
