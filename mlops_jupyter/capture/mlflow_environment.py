"""Environment variables that make the user's own ``mlflow`` calls land in the same place and in the same
run."""

from __future__ import annotations

import json
import os

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import RunUid

_URI = "MLFLOW_TRACKING_URI"
_CONTEXT = "MLFLOW_RUN_CONTEXT"


class MlflowEnvironment:
    """Sets MLflow's variables for a session and around its tracked cells, and puts back what was there."""

    def __init__(self, settings: Settings) -> None:
        self._uri: str | None = None
        if settings.tracking_uri and not os.environ.get(_URI):
            self._uri = settings.tracking_uri
            os.environ[_URI] = self._uri
        self._before: str | None = None
        self._set: str | None = None

    def enter(self, run_uid: RunUid) -> None:
        """Runs that the user's mlflow starts from here on carry our id as a tag; delivery takes them over
        by it."""
        self._before = os.environ.get(_CONTEXT)
        tags: dict[str, object] = {}
        if self._before:
            try:
                outer = json.loads(self._before)
            except ValueError:
                outer = None
            if isinstance(outer, dict):
                tags = outer
        self._set = json.dumps({**tags, "mlops.run_uid": run_uid})
        os.environ[_CONTEXT] = self._set

    def leave(self) -> None:
        """The cell is over. What the user set meanwhile stays."""
        if self._set is not None and os.environ.get(_CONTEXT) == self._set:
            if self._before is None:
                del os.environ[_CONTEXT]
            else:
                os.environ[_CONTEXT] = self._before
        self._set = self._before = None

    def restore(self) -> None:
        """The session is over."""
        self.leave()
        if self._uri is not None and os.environ.get(_URI) == self._uri:
            del os.environ[_URI]
        self._uri = None
