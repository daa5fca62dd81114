"""Small documents under a name in the exchange, beside the objects: how the two sides of a job find each other.

Objects are found by the digest of their bytes, so somebody has to say which digest a job's result has. That is
``jobs/ID/NAME`` in the shared part, or in the local part where there is no shared one.
"""

from __future__ import annotations

import re
from pathlib import Path

from mlops_jupyter.errors import UnreachableError, UsageError

from .exchange import Exchange

_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[a-z][a-z-]{0,40}(\.json)?")


def post(exchange: Exchange, job_id: str, name: str, content: bytes) -> None:
    """Leave a document for the other side; it appears whole or not at all and replaces an earlier one.

    Raises:
        UnreachableError: the exchange cannot be written.
        UsageError: not an id of a job, or not a name.
    """
    from .remote import open_remote  # here, because it imports fsspec

    open_remote(_shared(exchange)).write(_place(job_id, name), content)


def collect(exchange: Exchange, job_id: str, name: str) -> bytes | None:
    """What the other side left, or None.

    Raises:
        UnreachableError: the exchange cannot be read.
    """
    if exchange.url is None:
        try:
            return (exchange.folder / _place(job_id, name)).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UnreachableError(
                f"The exchange {exchange.folder} cannot be read: {error.strerror or error}."
            ) from error
    from .remote import open_remote

    return open_remote(exchange.url).read(_place(job_id, name))


def shared_url(exchange: Exchange) -> str:
    """Where the other side finds the exchange: its URL, or the local folder for a cluster on this machine."""
    return _shared(exchange)


def _shared(exchange: Exchange) -> str:
    return exchange.url if exchange.url is not None else str(Path(exchange.folder).absolute())


def _place(job_id: str, name: str) -> str:
    if not _ID.fullmatch(job_id):
        raise UsageError(f"{job_id!r} is not the id of a job.", hint="Ids are 32 hexadecimal digits.")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name in a job's mailbox.")
    return f"jobs/{job_id}/{name}"
