"""What a failed call means for the delivery: by the classes and codes of errors, never by their text."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Iterator
from enum import StrEnum

from mlops_jupyter.errors import MlopsError, TargetNotFoundError, TransientError, UnreachableError, UsageError


class Failure(StrEnum):
    """What to do about a failed call."""

    UNREACHABLE = "unreachable"
    """Nobody answers in time: stop, try again later."""
    DENIED = "denied"
    """The credentials are not accepted."""
    BUSY = "busy"
    """The other side, the disk or our store failed: try again, and give the item up if it keeps failing."""
    REFUSED = "refused"
    """The item will never be taken."""


_CREDENTIALS = re.compile(r"://[^/\s@]+@")
"""User and password in an address: MLflow's errors repeat the whole of it."""
_DENIED_CODES = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})
_BUSY_CODES = frozenset(
    {
        "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED",
        "ABORTED", "CANCELLED", "RESOURCE_CONFLICT", "INTERNAL_ERROR", "DATA_LOSS", "INVALID_STATE",
    }
)  # fmt: skip


def classify(error: BaseException) -> Failure:
    """What ``error``, raised by MLflow's client, the exchange or our store, means."""
    from mlflow.exceptions import MlflowException

    network = _network_failure(error)
    if network is not None:
        return network
    for cause in _chain(error):
        if isinstance(cause, MlflowException):
            code = str(cause.error_code)
            if code in _DENIED_CODES:
                return Failure.DENIED
            return Failure.BUSY if code in _BUSY_CODES else Failure.REFUSED
        if isinstance(cause, UnreachableError):
            return Failure.UNREACHABLE
        if isinstance(cause, TransientError):
            return Failure.BUSY
        if isinstance(cause, MlopsError):
            return Failure.REFUSED
        if isinstance(cause, OSError):
            return Failure.REFUSED if isinstance(cause, FileNotFoundError) else Failure.BUSY
    return Failure.REFUSED


def _network_failure(error: BaseException) -> Failure | None:
    from requests import exceptions

    for cause in _chain(error):
        if isinstance(cause, exceptions.HTTPError) and cause.response is not None:
            status = cause.response.status_code
            if status in (401, 403):
                return Failure.DENIED
            return Failure.BUSY if status == 429 or status >= 500 else Failure.REFUSED
        if isinstance(cause, exceptions.RetryError):
            return Failure.BUSY  # it answered, with 429 or 5xx
        if isinstance(cause, exceptions.ConnectionError | exceptions.Timeout):
            return Failure.UNREACHABLE
        if isinstance(cause, exceptions.RequestException):
            return Failure.UNREACHABLE  # an address that is none
    return None


def disk_full(error: BaseException) -> bool:
    """Whether a disk of this machine has no room left: no fault of the record, however often it fails."""
    for cause in _chain(error):
        if isinstance(cause, sqlite3.OperationalError):
            if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
                return True
        elif isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
    return False


def no_room(shown: str) -> TransientError:
    """That the disk behind ``shown`` is full."""
    return TransientError(
        f"The disk is full, so nothing more can be delivered to {shown}.",
        hint="Nothing is lost: free some space, then run mlops sync.",
    )


def target_error(error: BaseException, shown: str) -> MlopsError:
    """A failed greeting as one sentence for people: nothing at all can be delivered to ``shown``."""
    if isinstance(error, MlopsError):
        return error
    if disk_full(error):
        return no_room(shown)
    reason = _system_reason(error) or first_line(error)
    match classify(error):
        case Failure.UNREACHABLE:
            return UnreachableError(
                f"MLflow at {shown} does not answer: {reason}",
                hint="Nothing is lost: it is delivered once the server is back. Check MLFLOW_TRACKING_URI.",
            )
        case Failure.DENIED:
            return UnreachableError(
                f"MLflow at {shown} refuses the credentials: {reason}",
                hint="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
            )
        case Failure.BUSY:
            return UnreachableError(
                f"MLflow at {shown} fails: {reason}",
                hint="Nothing is lost: it is delivered once the server works.",
            )
        case Failure.REFUSED:
            return UnreachableError(f"There is no MLflow at {shown}: {reason}", hint="Check MLFLOW_TRACKING_URI.")


def _system_reason(error: BaseException) -> str:
    """What the operating system said of a connection, without the layers of libraries around it."""
    for cause in reversed(list(_chain(error))):
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return f"{cause.strerror}."
    return ""


def first_line(error: BaseException, limit: int = 300) -> str:
    """The beginning of an error's text, in one line and without credentials, for logs and dead letters."""
    text = _CREDENTIALS.sub("://", " ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def missing(error: BaseException) -> bool:
    """Whether MLflow says that what was asked for does not exist."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, TargetNotFoundError):
        return True
    return isinstance(error, MlflowException) and str(error.error_code) in {
        "RESOURCE_DOES_NOT_EXIST",
        "NOT_FOUND",
    }


def no_mlflow(error: ImportError) -> UsageError:
    """That this environment cannot deliver."""
    return UsageError(
        f"MLflow cannot be imported here: {error}.", hint="Install it with: pip install 'mlflow>=3.17,<3.19'"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
