"""A Jupyter Server with the extension, over a real store in the server's root folder."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jupyter_server.serverapp import ServerApp
from pytest_jupyter.jupyter_core import *  # noqa: F403
from pytest_jupyter.jupyter_server import *  # noqa: F403
from pytest_jupyter.pytest_tornasync import *  # noqa: F403
from tornado.httpclient import HTTPClientError

from mlops_jupyter.config import load_settings
from mlops_jupyter.entities import Metric, Run, RunStatus, RunUid
from mlops_jupyter.server.handlers import SETTING
from mlops_jupyter.store import SQLiteConnection, open_workspace_store
from mlops_jupyter.store import runs as store_runs

# The fixtures come by import and not by pytest_plugins: that would give its autouse ones to every test there is.

Api = Callable[..., Awaitable[Any]]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the machine must not leak in, and no delivery process may be left behind."""
    for name in ("MLOPS_HOME", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLOPS_DELIVER", "false")


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"mlops_jupyter": True}}}


@pytest.fixture
def jp_root_dir(tmp_path: Path) -> Path:
    """The server's root is a workspace of its own."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "mlops.toml").touch()
    return root


@pytest.fixture
def api(
    jp_serverapp: ServerApp, jp_fetch: Callable[..., Awaitable[Any]], jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Iterator[Api]:
    """``await api("runs", limit=5)``: the JSON document, closed down behind the test."""

    async def fetch(*path: str, method: str = "GET", body: Any = None, **query: Any) -> Any:
        response = await jp_fetch(
            "mlops",
            "api",
            *path,
            method=method,
            params={k: str(v) for k, v in query.items()},
            body=None if body is None else json.dumps(body),
        )
        return json.loads(response.body)

    yield fetch
    jp_asyncio_loop.run_until_complete(jp_serverapp.web_app.settings[SETTING].close())


@pytest.fixture
def store(jp_root_dir: Path) -> Iterator[SQLiteConnection]:
    """The workspace's store, as another process would write it."""
    connection = open_workspace_store(load_settings(jp_root_dir))
    yield connection
    connection.close()


@pytest.fixture
def record(store: SQLiteConnection) -> Callable[..., RunUid]:
    """``record("name", accuracy=0.9)``: a finished run with these metrics."""

    def make(
        name: str = "train",
        *,
        notebook: str | None = "train.ipynb",
        status: RunStatus = RunStatus.FINISHED,
        params: dict[str, str] | None = None,
        **metrics: float,
    ) -> RunUid:
        uid = RunUid(uuid4().hex)
        now = time.time()
        run = Run(
            run_uid=uid,
            name=name,
            experiment="default",
            status=RunStatus.RUNNING,
            started_at=now,
            notebook=notebook,
            user="tester",
            params=params or {},
        )
        store_runs.start_run(store, run)
        store_runs.log_metrics(
            store, uid, [Metric(key=k, value=v, step=0, timestamp=int(now * 1000)) for k, v in metrics.items()]
        )
        if status is not RunStatus.RUNNING:
            store_runs.end_run(store, uid, status)
        return uid

    return make


@pytest.fixture
def refused() -> Callable[[Awaitable[Any]], Awaitable[tuple[int, dict[str, Any]]]]:
    """``await refused(api(...))``: the status and the error document of a call that must fail."""

    async def expect(call: Awaitable[Any]) -> tuple[int, dict[str, Any]]:
        with pytest.raises(HTTPClientError) as caught:
            await call
        response = caught.value.response
        assert response is not None
        return caught.value.code, json.loads(response.body)

    return expect
