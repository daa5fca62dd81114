"""Changes and events: what another process writes is heard of, and nobody polls for nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jupyter_server.serverapp import ServerApp
from referencing import Registry, Resource

import mlops_jupyter
from mlops_jupyter.entities import Metric, RunUid
from mlops_jupyter.server.handlers import SETTING
from mlops_jupyter.server.watcher import EVENT_SCHEMA_ID
from mlops_jupyter.store import SQLiteConnection
from mlops_jupyter.store import runs as store_runs

Api = Callable[..., Awaitable[Any]]
Record = Callable[..., RunUid]

WRITER = """
import sys, time
from pathlib import Path
from mlops_jupyter.config import load_settings
from mlops_jupyter.entities import Run, RunStatus, RunUid
from mlops_jupyter.store import open_workspace_store, runs
store = open_workspace_store(load_settings(Path(sys.argv[1])))
runs.start_run(store, Run(run_uid=RunUid("f" * 32), name="from outside", experiment="e", status=RunStatus.RUNNING,
    started_at=time.time()))
store.close()
"""


async def test_changes_name_what_is_new(api: Api, record: Record, store: SQLiteConnection) -> None:
    old = record("old")
    cursor = (await api("changes"))["cursor"]
    new = record("new")
    store_runs.log_metrics(store, old, [Metric(key="late", value=1.5, step=0, timestamp=1)])

    changes = await api("changes", since=cursor)

    assert {run["run_id"] for run in changes["runs"]} == {old, new}
    assert next(run for run in changes["runs"] if run["run_id"] == old)["metrics"] == {"late": 1.5}
    assert changes["reset"] is False
    assert (await api("changes", since=changes["cursor"]))["runs"] == []


async def test_first_question_resets(api: Api, record: Record) -> None:
    record()

    changes = await api("changes")

    assert changes["reset"] is True
    assert changes["runs"] == []


async def test_deleted_run_is_removed(api: Api, record: Record, store: SQLiteConnection) -> None:
    uid = record()
    cursor = (await api("changes"))["cursor"]
    store_runs.delete_run(store, uid)

    changes = await api("changes", since=cursor)

    assert changes["removed"] == [uid]
    assert changes["runs"] == []


async def test_another_process_is_heard_of(api: Api, jp_serverapp: ServerApp, jp_root_dir: Path) -> None:
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def listen(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        heard.put_nowait(data)

    assert jp_serverapp.event_logger is not None
    jp_serverapp.event_logger.add_listener(schema_id=EVENT_SCHEMA_ID, listener=listen)
    workspace = (await api("changes"))["workspace"]
    await asyncio.sleep(0.5)
    while not heard.empty():
        heard.get_nowait()

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(jp_root_dir))
    assert await process.wait() == 0
    event = await asyncio.wait_for(heard.get(), timeout=5)

    assert event["workspace"] == workspace
    (run,) = (await api("runs"))["runs"]
    assert run["name"] == "from outside"


async def test_nobody_looks_nobody_polls(api: Api, jp_serverapp: ServerApp, record: Record, monkeypatch: Any) -> None:
    record()
    watcher = jp_serverapp.web_app.settings[SETTING]
    await api("runs")
    await api("status")
    assert not watcher.watching

    monkeypatch.setattr("mlops_jupyter.server.watcher.INTEREST_SECONDS", 0.1)
    await api("changes")
    assert watcher.watching
    await asyncio.wait_for(_until(lambda: not watcher.watching), timeout=5)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells when a task ends by itself
        await asyncio.sleep(0.05)


async def test_slow_store_does_not_hold_up_the_server(
    api: Api, jp_fetch: Callable[..., Awaitable[Any]], record: Record, monkeypatch: Any
) -> None:
    record()

    def slow(*arguments: object, **more: object) -> dict[str, Any]:
        time.sleep(1.0)
        return {"runs": [], "total": 0}

    monkeypatch.setattr("mlops_jupyter.server.documents.run_verbs.list_runs", slow)
    waiting = asyncio.ensure_future(api("runs"))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await jp_fetch("api", "status")
    took = time.monotonic() - began
    await waiting

    assert took < 0.7


async def test_documents_fit_their_schemas(api: Api, record: Record) -> None:
    uid = record(params={"C": "1"}, accuracy=0.9, loss=float("inf"))

    for name, document in (
        ("runs-list.json", await api("runs")),
        ("run-show.json", await api("runs", uid)),
        ("lineage.json", await api("lineage", target=f"run:{uid}")),
    ):
        _validator(name).validate(document)


def test_typescript_names_the_keys_of_the_schemas() -> None:
    """The interfaces of the panel are written by hand: each key of a schema must be one of theirs."""
    root = Path(__file__).resolve().parents[2]
    text = (root / "labextension" / "src" / "documents.ts").read_text(encoding="utf-8")
    for name in ("run.json", "runs-list.json", "run-show.json", "lineage.json"):
        for key in _schema(name)["properties"]:
            assert f"  {key}: " in text, f"documents.ts lacks {key} of {name}"


def test_importing_the_server_side_is_cheap() -> None:
    code = (
        "import jupyter_server.serverapp, sys; import mlops_jupyter.server; "
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'mlflow', 'pandas', 'numpy', 'papermill'}))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def _schema(name: str) -> dict[str, Any]:
    path = Path(mlops_jupyter.__file__).parent / "schemas" / name
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _validator(name: str) -> Draft202012Validator:
    folder = Path(mlops_jupyter.__file__).parent / "schemas"
    resources = [(path.name, Resource.from_contents(_schema(path.name))) for path in folder.glob("*.json")]
    return Draft202012Validator(_schema(name), registry=Registry().with_resources(resources))
