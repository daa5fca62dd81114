"""The headless run in the store: a session of its own whose lock says that the runner lives, and the parent run."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.entities import (
    Artifact,
    Origin,
    Param,
    ParamSource,
    Run,
    RunStatus,
    RunUid,
    Session,
    SessionId,
)
from mlops_jupyter.store import Connection, FileLock, executions, runs

from .parameters import Parameter, display


class ParentRun:
    """The parent run of one headless execution. ``finish`` must be called; a killed runner is reaped by its lock."""

    def __init__(self, settings: Settings, store: Connection, *, run_uid: RunUid, notebook: str) -> None:
        self.run_uid = run_uid
        self.notebook = notebook
        self.session_id = SessionId(uuid.uuid4().hex)
        self._settings = settings
        self._store = store
        self._lock = FileLock(settings.locks / f"session-{self.session_id}.lock")

    def start(
        self,
        *,
        parameters: Sequence[Parameter],
        values: Mapping[str, Any],
        given: Mapping[str, Any],
        tags: Mapping[str, str],
        at: float,
    ) -> None:
        """Record session and run. Raises as the store does."""
        user = actor(self._settings.root)
        self._lock.acquire(timeout=5.0)
        executions.start_session(
            self._store,
            Session(
                session_id=self.session_id, origin=Origin.HEADLESS, host=socket.gethostname(), pid=os.getpid(),
                user=user, notebook=self.notebook, python=platform.python_version(), environment=None, started_at=at,
            ),
        )  # fmt: skip
        with self._store.transaction():
            runs.start_run(
                self._store,
                Run(
                    run_uid=self.run_uid, name=Path(self.notebook).stem,
                    experiment=self._settings.experiment or self.notebook, status=RunStatus.RUNNING, started_at=at,
                    session_id=self.session_id, notebook=self.notebook, user=user,
                    tags={
                        "mlflow.user": user, "mlflow.source.name": self.notebook, "mlflow.source.type": "NOTEBOOK",
                        "mlops.notebook": self.notebook, "mlops.origin": str(Origin.HEADLESS), **tags,
                    },
                ),
            )  # fmt: skip
            kinds = {parameter.name: parameter.type_name for parameter in parameters}
            runs.log_params(
                self._store,
                self.run_uid,
                [
                    Param(
                        key=name, value=display(value),
                        type_name=type(value).__name__ if kinds.get(name, "any") == "any" else kinds[name],
                        source=ParamSource.INJECTED if name in given else ParamSource.LITERAL,
                    )
                    for name, value in values.items()
                ],
            )  # fmt: skip

    def finish(self, status: RunStatus, *, tags: Mapping[str, str], output: Path | None, at: float) -> None:
        """Record how it ended, with the executed notebook as an artifact. Raises as the store does."""
        try:
            if output is not None:
                digest = open_exchange(self._settings).put_file(output)
                artifact = Artifact(path=f"notebook/{output.name}", digest=digest, size=output.stat().st_size)
                runs.add_artifact(self._store, self.run_uid, artifact)
            with self._store.transaction():
                runs.set_tags(self._store, self.run_uid, tags)
                runs.end_run(self._store, self.run_uid, status, at=at)
                executions.end_session(self._store, self.session_id, at=at)
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """End run and session as killed, whatever happens: the runner itself failed."""
        with contextlib.suppress(Exception):
            self.finish(RunStatus.KILLED, tags={}, output=None, at=time.time())


def workspace_path(root: Path, path: Path) -> str:
    """``path`` relative to the workspace's root with ``/``, or absolute where it lies outside."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()


def actor(root: Path) -> str:
    """Who runs this: Jupyter's or the hub's user, else git's e-mail, else the operating system's user."""
    user = os.environ.get("JUPYTERHUB_USER")
    if user:
        return user
    git = shutil.which("git")
    if git:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [git, "config", "user.email"],
                cwd=root,
                capture_output=True,
                text=True,
                timeout=2,
                check=False,
            )
            if done.stdout.strip():
                return done.stdout.strip()
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return str(os.getuid()) if hasattr(os, "getuid") else ""
