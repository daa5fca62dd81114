"""A server that is down, hangs, is another or refuses: nothing is lost, nothing waits long, all arrives once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import UnreachableError
from mlops_jupyter.store import open_workspace_store, outbox
from mlops_jupyter.tracking import sync
from mlops_jupyter.tracking import target as tracking_target
from mlops_jupyter.tracking.target import target_of
from mlops_jupyter.verbs.sync import document, exit_code

from .servers import MlflowServer, answering, free_port, hanging
from .workspaces import EXPECTED, in_mlflow, new_run, record_everything, settings_of

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[MlflowServer]:
    made = MlflowServer(tmp_path_factory.mktemp("server"), template)
    yield made
    made.stop()


def test_an_outage_loses_nothing_and_doubles_nothing(tmp_path: Path, server: MlflowServer) -> None:
    settings = settings_of(tmp_path, MLFLOW_TRACKING_URI=server.url)
    store = open_workspace_store(settings)
    ids = record_everything(settings, store)

    down = sync(settings)
    assert isinstance(down.error, UnreachableError)
    assert (down.delivered, down.dead_letters) == ({}, ())
    assert down.remaining["metrics"] == 1205

    server.start()

    def stop_in_the_middle(kind: str, _number: int) -> None:
        if kind == "metrics":
            server.stop()

    interrupted = sync(settings, progress=stop_in_the_middle)
    assert isinstance(interrupted.error, UnreachableError)
    assert interrupted.delivered["metrics"] == 1000
    assert interrupted.dead_letters == ()

    server.start()
    up = sync(settings)
    assert (up.error, up.dead_letters, up.remaining) == (None, (), {})
    assert in_mlflow(settings, store, ids) == EXPECTED
    assert sync(settings).delivered == {}
    server.stop()
    store.close()


def recorded(root: Path, uri: str) -> Settings:
    settings = settings_of(root, MLFLOW_TRACKING_URI=uri)
    store = open_workspace_store(settings)
    new_run(store)
    store.close()
    return settings


def test_a_server_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 5 <= tracking_target.REQUEST_TIMEOUT <= 10
    monkeypatch.setitem(tracking_target._ENVIRONMENT, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with hanging() as url:
        before = time.monotonic()
        report = sync(recorded(tmp_path, url))
        assert time.monotonic() - before < 8  # one import of MLflow and one request
    assert isinstance(report.error, UnreachableError)
    assert report.remaining == {"run_events": 1}


def test_a_time_limit_is_kept(tmp_path: Path) -> None:
    settings = recorded(tmp_path, f"http://127.0.0.1:{free_port()}")
    before = time.monotonic()
    report = sync(settings, timeout=1.5)
    assert 0.5 < time.monotonic() - before < 4
    assert isinstance(report.error, UnreachableError)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b"You are not authenticated.", "credentials"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "credentials"),
        (404, b"<html>not here</html>", "no MLflow"),
        (200, b"<html>another service</html>", "MLflow at"),
        (500, b"oops", "fails"),
        (503, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}', "fails"),
    ],
)
def test_a_server_that_is_not_ours(tmp_path: Path, status: int, body: bytes, says: str) -> None:
    with answering(status, body) as url:
        settings = recorded(tmp_path, url)
        report = sync(settings)
    assert says in str(report.error)
    assert url in str(report.error)
    assert report.dead_letters == ()
    assert exit_code(document(report)) == 5
    store = open_workspace_store(settings)
    assert outbox.backlog(store, target_of(settings).key).pending == 1
    store.close()


@pytest.mark.parametrize("uri", ["http://", "nonsense://there", "http://[::1", "postgresql://nobody@127.0.0.1:1/x"])
def test_an_address_that_is_none(tmp_path: Path, uri: str) -> None:
    report = sync(recorded(tmp_path, uri))
    assert report.error is not None
    assert report.error.hint
    assert report.remaining == {"run_events": 1}


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    report = sync(recorded(tmp_path, f"http://ada:hunter2@127.0.0.1:{free_port()}"))
    assert "hunter2" not in str(document(report))
