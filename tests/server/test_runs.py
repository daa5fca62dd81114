"""Runs over HTTP, against the real store."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mlops_jupyter.entities import RunUid
from mlops_jupyter.store import SQLiteConnection

Api = Callable[..., Awaitable[Any]]
Refused = Callable[[Awaitable[Any]], Awaitable[tuple[int, dict[str, Any]]]]
Record = Callable[..., RunUid]

HOSTILE = "<script>alert('x')</script>\"&\n☃"


async def test_workspace_without_a_store_has_no_runs(api: Api, jp_root_dir: Path) -> None:
    assert await api("runs") == {"runs": [], "total": 0}
    assert not (jp_root_dir / ".mlops").exists(), "looking must not create a workspace"


async def test_runs_are_listed_latest_first_and_paged(api: Api, record: Record) -> None:
    uids = [record(f"run {i}") for i in range(5)]

    page = await api("runs", limit=2, offset=1)

    assert [run["run_id"] for run in page["runs"]] == [uids[3], uids[2]]
    assert page["total"] == 5


async def test_runs_are_filtered_and_ordered(api: Api, record: Record) -> None:
    for accuracy in (0.5, 0.9, 0.7):
        record(f"acc {accuracy}", accuracy=accuracy)

    page = await api("runs", filter="metrics.accuracy > 0.6", order_by="metrics.accuracy ASC")

    assert [run["metrics"]["accuracy"] for run in page["runs"]] == [0.7, 0.9]


async def test_runs_of_one_notebook(api: Api, record: Record) -> None:
    mine = record("mine", notebook="deep/it's.ipynb", accuracy=1)
    record("other", notebook="other.ipynb", accuracy=1)

    page = await api("runs", notebook="deep/it's.ipynb", filter="metrics.accuracy > 0")

    assert [run["run_id"] for run in page["runs"]] == [mine]


async def test_bad_filter_says_what_is_wrong(api: Api, record: Record, refused: Refused) -> None:
    record()

    status, error = await refused(api("runs", filter="metrics.accuracy >>> 1"))

    assert status == 400
    assert error["message"]
    assert set(error) == {"message", "hint"}


async def test_bad_numbers_are_refused(api: Api, refused: Refused) -> None:
    for value in ("-1", "x", "1e3", "99999999999999999999", "²"):
        status, error = await refused(api("runs", limit=value))
        assert status == 400
        assert "limit" in error["message"]


async def test_run_is_shown_by_prefix_with_everything(api: Api, record: Record) -> None:
    uid = record("full", params={"C": "0.1"}, accuracy=0.9, loss=math.nan)

    run = await api("runs", uid[:10])

    assert run["run_id"] == uid
    assert run["params"] == {"C": "0.1"}
    assert run["metrics"] == {"accuracy": 0.9, "loss": "NaN"}
    assert run["metric_history"]["accuracy"][0]["value"] == 0.9
    assert run["executions"] == []


async def test_unknown_run_is_not_found(api: Api, record: Record, refused: Refused) -> None:
    record()

    status, error = await refused(api("runs", "0" * 32))

    assert status == 404
    assert set(error) == {"message", "hint"}


async def test_hostile_names_come_back_as_they_are(api: Api, record: Record) -> None:
    record(HOSTILE, params={HOSTILE: HOSTILE}, **{HOSTILE: 1.0})

    (run,) = (await api("runs"))["runs"]

    assert run["name"] == HOSTILE
    assert run["params"] == {HOSTILE: HOSTILE}
    assert run["metrics"] == {HOSTILE: 1.0}


async def test_answers_are_json_that_no_browser_renders(
    api: Api, record: Record, jp_fetch: Callable[..., Awaitable[Any]]
) -> None:
    record(HOSTILE)

    response = await jp_fetch("mlops", "api", "runs")

    assert response.headers["Content-Type"].startswith("application/json")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_note_is_replaced(api: Api, record: Record) -> None:
    uid = record()

    await api("runs", uid, "note", method="POST", body={"note": "best so far"})

    assert (await api("runs", uid))["note"] == "best so far"


async def test_note_must_be_text(api: Api, record: Record, refused: Refused) -> None:
    uid = record()

    for body in ({"note": 1}, {}, ["note"], None):
        call = api("runs", uid, "note", method="POST", body=body if body is not None else "no object")
        assert (await refused(call))[0] == 400


async def test_broken_json_is_refused(
    api: Api, record: Record, refused: Refused, jp_fetch: Callable[..., Awaitable[Any]]
) -> None:
    uid = record()

    status, error = await refused(jp_fetch("mlops", "api", "runs", uid, "note", method="POST", body="{"))

    assert status == 400
    assert error["message"] == "Invalid JSON in body of request"


async def test_deleted_run_leaves_the_list(api: Api, record: Record) -> None:
    uid = record()

    await api("runs", uid, method="DELETE")

    assert (await api("runs"))["runs"] == []


async def test_unknown_resource_is_json(api: Api, refused: Refused) -> None:
    status, error = await refused(api("nonsense"))

    assert status == 404
    assert set(error) == {"message", "hint"}


async def test_store_that_was_removed_and_made_anew_is_read_anew(
    api: Api, record: Record, store: SQLiteConnection, jp_root_dir: Path
) -> None:
    record("before")
    assert (await api("runs"))["total"] == 1
    store.close()
    for path in (jp_root_dir / ".mlops").glob("lineage.db*"):
        path.unlink()

    assert await api("runs") == {"runs": [], "total": 0}


async def test_broken_database_is_said_and_the_server_lives(api: Api, refused: Refused, jp_root_dir: Path) -> None:
    home = jp_root_dir / ".mlops"
    home.mkdir()
    (home / "lineage.db").write_bytes(b"not a database, " * 500)

    status = await api("status")
    code, error = await refused(api("runs"))

    assert status["store"]["ok"] is False
    assert "not a usable SQLite database" in status["store"]["message"]
    assert code == 400
    assert error["message"] == status["store"]["message"]


async def test_status_hides_credentials(api: Api, monkeypatch: Any, record: Record) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@mlflow.example:8443/base?token=secret#secret")
    record()

    status = await api("status")

    assert status["tracking"] == {"uri": "https://mlflow.example:8443/base", "embedded": False}
    assert "secret" not in json.dumps(status)
    assert status["workspace"]["exists"] is True
    assert status["delivery"]["pending"] > 0
