"""Where runs are delivered to: absolute addresses, and a key for the cursors that holds no password."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mlops_jupyter.config import Settings

REQUEST_TIMEOUT = 8
"""Seconds that a request to a tracking server may take."""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT),
    # Ours is the only retry: the client's own waits for minutes inside one call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass(frozen=True, slots=True)
class Target:
    """An MLflow to deliver to."""

    uri: str
    """Absolute tracking URI, as given to MLflow."""
    key: str
    """The same without user and password: what cursors are kept under and what is shown."""
    database: Path | None
    """The SQLite file behind it, its real path; None for a server or another database."""
    embedded: bool
    """Whether it is the workspace's own."""


def target_of(settings: Settings) -> Target:
    """The target that the settings name; relative paths count from the workspace's root."""
    uri = absolute_uri(settings.tracking_uri, settings.root)
    path = sqlite_path(uri)
    database = None if path is None else Path(os.path.realpath(path))
    return Target(uri=uri, key=public_uri(uri), database=database, embedded=settings.embedded_mlflow)


def absolute_uri(uri: str, root: Path) -> str:
    """``uri`` with any relative path in it made absolute below ``root``."""
    path = sqlite_path(uri)
    if path is not None:
        return f"sqlite:///{root / path}"
    if "://" not in uri and not uri.startswith(("file:", "databricks", "uc:", "http:", "https:")):
        return (root / Path(uri).expanduser()).as_uri()
    return uri


def sqlite_path(uri: str) -> Path | None:
    """File of an SQLite URI (``sqlite:///relative``, ``sqlite:////absolute``), or None."""
    scheme, separator, rest = uri.partition(":///")
    if not separator or scheme.split("+")[0] != "sqlite":
        return None
    return Path(rest.split("?")[0])


def public_uri(uri: str) -> str:
    """``uri`` without user, password and query, for cursors, logs and people."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # no address at all, which the first request will say
        return uri
    if not parts.netloc:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


@contextmanager
def mlflow_environment(timeout: int | None = None) -> Iterator[None]:
    """MLflow's settings for a delivery, undone at the end: the caller may use MLflow itself.

    ``timeout``: seconds for each request in place of ``REQUEST_TIMEOUT``.
    """
    wanted = dict(_ENVIRONMENT)
    if timeout is not None:
        wanted["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
