"""What is kept of a job on this side: its log and the files that it brought back."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from mlops_jupyter.config import Settings

_LARGE = 4_000_000
"""Bytes of log from which on it is fetched more rarely: the cluster always sends all of it."""


def job_folder(settings: Settings, job_id: str) -> Path:
    """Folder of a job in the workspace."""
    return settings.home / "jobs" / job_id


def job_log(settings: Settings, job_id: str) -> Path:
    """The copy of what the job printed."""
    return job_folder(settings, job_id) / "log.txt"


def log_is_due(path: Path) -> bool:
    """Whether it is time to fetch the log again."""
    with suppress(OSError):
        status = path.stat()
        return time.time() - status.st_mtime > status.st_size / _LARGE or status.st_size < _LARGE
    return True


def copy_log(path: Path, text: str) -> int:
    """Append what is new in ``text``, the log from its beginning; how many bytes that were.

    A copy that was cut off in the middle is continued where it ended.
    """
    content = text.encode("utf-8", "replace")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        have = stream.tell()
        stream.write(content[have:])
    return max(0, len(content) - have)


def read_log(path: Path, start: int = 0) -> tuple[str, int]:
    """The copy from byte ``start`` on, and where it ends now."""
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            content = stream.read()
    except FileNotFoundError:
        return "", start
    # A character may be cut in two by a copy in progress; its rest comes with the next reading.
    for cut in range(min(4, len(content) + 1)):
        with suppress(UnicodeDecodeError):
            kept = content[: len(content) - cut]
            return kept.decode("utf-8"), start + len(kept)
    return content.decode("utf-8", "replace"), start + len(content)
