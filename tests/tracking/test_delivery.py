"""What is recorded arrives in MLflow, whole, once, and in MLflow's own terms."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.entities import Artifact, DatasetVersion, Digest, Metric, Param, RunStatus
from mlops_jupyter.store import Connection, outbox, runs
from mlops_jupyter.tracking import sync
from mlops_jupyter.tracking.target import target_of

from .workspaces import EXPECTED, in_mlflow, new_execution, new_run, new_session, record_everything


def client_of(settings: Settings) -> MlflowClient:
    return MlflowClient(tracking_uri=settings.tracking_uri)


def delivered(settings: Settings, store: Connection, run_uid: str) -> Any:
    """The run as MLflow has it, after a delivery without any trouble."""
    report = sync(settings)
    assert (report.error, report.dead_letters, dict(report.remaining)) == (None, (), {})
    return client_of(settings).get_run(runs.get_run(store, run_uid).mlflow_run_id)


def test_everything_arrives_once(settings: Settings, store: Connection) -> None:
    ids = record_everything(settings, store)
    first = sync(settings)
    assert (first.error, first.dead_letters, dict(first.remaining)) == (None, (), {})
    assert (first.delivered["runs"], first.delivered["models"], first.delivered["artifacts"]) == (4, 2, 2)
    assert in_mlflow(settings, store, ids) == EXPECTED
    assert sync(settings).delivered == {}
    assert in_mlflow(settings, store, ids) == EXPECTED


def test_sending_everything_again_changes_nothing(settings: Settings, store: Connection) -> None:
    ids = record_everything(settings, store)
    sync(settings)
    store.execute("DELETE FROM cursors")
    assert sync(settings).error is None
    assert in_mlflow(settings, store, ids) == EXPECTED


def test_a_lost_map_of_ids_is_found_again(settings: Settings, store: Connection) -> None:
    ids = record_everything(settings, store)
    sync(settings)
    store.execute("DELETE FROM cursors")
    store.execute("DELETE FROM deliveries")
    store.execute("UPDATE runs SET mlflow_run_id = NULL")
    assert sync(settings).error is None
    assert in_mlflow(settings, store, ids) == EXPECTED


def test_a_removed_database_is_filled_again(settings: Settings, store: Connection) -> None:
    ids = record_everything(settings, store)
    sync(settings)
    assert settings.embedded_mlflow
    (settings.state / "mlflow.db").unlink()
    assert sync(settings).delivered["runs"] == 4
    assert in_mlflow(settings, store, ids) == EXPECTED


def test_a_run_is_complete_in_mlflow_words(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store, "fit", notebook="deep/train.ipynb", started_at=1_700_000_000.5)
    runs.end_run(store, run_uid, RunStatus.FAILED, at=1_700_000_060.25)
    info = delivered(settings, store, run_uid)
    assert (info.info.start_time, info.info.end_time, info.info.status) == (
        1_700_000_000_500,
        1_700_000_060_250,
        "FAILED",
    )
    assert info.info.user_id == "ada"
    assert info.data.tags["mlflow.source.name"] == "deep/train.ipynb"
    assert info.data.tags["mlflow.source.type"] == "NOTEBOOK"
    assert info.info.artifact_uri.startswith(settings.artifacts.as_uri())


def test_a_run_in_progress_is_visible_and_grows(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    runs.log_metrics(store, run_uid, [Metric(key="loss", value=1.0, step=0, timestamp=1)])
    assert delivered(settings, store, run_uid).info.status == "RUNNING"
    runs.log_metrics(store, run_uid, [Metric(key="loss", value=0.5, step=1, timestamp=2)])
    assert delivered(settings, store, run_uid).data.metrics == {"loss": 0.5}


def test_numbers_that_are_none(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    values = {"nan": math.nan, "up": math.inf, "down": -math.inf}
    runs.log_metrics(store, run_uid, [Metric(key=k, value=v, step=0, timestamp=1) for k, v in values.items()])
    metrics = delivered(settings, store, run_uid).data.metrics
    assert math.isnan(metrics["nan"])
    assert (metrics["up"], metrics["down"]) == (
        pytest.approx(1.7976931348623157e308),
        pytest.approx(-1.7976931348623157e308),
    )


def test_what_does_not_fit_is_kept_in_a_file(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    key = "k" * 400
    runs.log_params(store, run_uid, [Param(key="text", value="v" * 9000), Param(key=key, value="1")])
    runs.set_tags(store, run_uid, {"prompt": "t" * 6000})
    run = delivered(settings, store, run_uid)
    assert run.data.params["text"].endswith("(9000 characters)")
    assert len(run.data.params["text"]) == 6000
    assert len(run.data.tags["prompt"]) == 5000
    path = client_of(settings).download_artifacts(run.info.run_id, "mlops/full_values.json")
    full = json.loads(Path(path).read_text())
    assert full == {"params": {"text": "v" * 9000, key: "1"}, "tags": {"prompt": "t" * 6000}}


def test_one_bad_parameter_does_not_lose_the_others(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    mlflow_run_id = delivered(settings, store, run_uid).info.run_id
    client_of(settings).log_param(mlflow_run_id, "p7", "set by someone else")
    runs.log_params(store, run_uid, [Param(key=f"p{i}", value=str(i)) for i in range(150)])
    report = sync(settings)
    params = client_of(settings).get_run(mlflow_run_id).data.params
    assert len(params) == 150
    assert params["p149"] == "149"
    (letter,) = report.dead_letters
    assert (letter.stream, letter.run_uid) == ("params", run_uid)
    assert "p7" in letter.error
    assert (report.error, dict(report.remaining)) == (None, {})


def test_a_bad_metric_is_set_aside(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    good = [Metric(key="m", value=1.0, step=step, timestamp=1) for step in range(20)]
    runs.log_metrics(store, run_uid, [*good, Metric(key="m", value=1.0, step=99, timestamp=-5)])
    report = sync(settings)
    assert [letter.stream for letter in report.dead_letters] == ["metrics"]
    run_id = runs.get_run(store, run_uid).mlflow_run_id
    assert len(client_of(settings).get_metric_history(run_id, "m")) == 20


def test_a_missing_file_is_a_dead_letter_until_it_is_back(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    content = b"late"
    exchange = open_exchange(settings)
    digest = exchange.put_bytes(content)
    place = exchange.path(digest)
    place.unlink()
    runs.add_artifact(store, run_uid, Artifact(path="late.txt", digest=digest, size=4))
    (letter,) = sync(settings).dead_letters
    assert "no object" in letter.error
    exchange.put_bytes(content)
    assert sync(settings).dead_letters == ()
    run_id = runs.get_run(store, run_uid).mlflow_run_id
    assert Path(client_of(settings).download_artifacts(run_id, "late.txt")).read_bytes() == content


@pytest.mark.parametrize("path", ["../../evil.txt", "/etc/evil", "a/../../evil", ""])
def test_an_artifact_stays_inside_its_run(settings: Settings, store: Connection, path: str) -> None:
    digest = open_exchange(settings).put_bytes(b"evil")
    runs.add_artifact(store, new_run(store), Artifact(path=path, digest=digest, size=4))
    (letter,) = sync(settings).dead_letters
    assert "no path inside" in letter.error
    assert not list(settings.root.rglob("evil*"))


def test_a_dataset_is_an_input(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    runs.add_dataset(
        store, run_uid,
        DatasetVersion(
            name="flights", digest=Digest("sha256:" + "0f" * 32), source="https://example.org/flights.csv",
            context="training", shape=(10, 2), schema='[{"name": "delay", "type": "float64"}]',
        ),
    )  # fmt: skip
    (entry,) = delivered(settings, store, run_uid).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest, entry.dataset.source_type) == ("flights", "0f" * 16, "http")
    assert json.loads(entry.dataset.schema)["mlflow_colspec"][0]["type"] == "double"
    assert {tag.key: tag.value for tag in entry.tags} == {"mlflow.data.context": "training"}


def test_the_cells_behind_a_run_are_there_too(settings: Settings, store: Connection) -> None:
    session = new_session(store)
    run_uid = new_run(store, session_id=session)
    (settings.locks / f"session-{session}.lock").touch()
    execution = new_execution(store, session, run_uid, "y = x + 1")
    run = delivered(settings, store, run_uid)
    path = client_of(settings).download_artifacts(run.info.run_id, "lineage/executions.json")
    (cell,) = json.loads(Path(path).read_text())["executions"]
    assert (cell["execution_id"], cell["source"]) == (execution.execution_id, "y = x + 1")
    assert ([e["name"] for e in cell["reads"]], [e["name"] for e in cell["writes"]]) == (["x"], ["y"])


def test_an_old_tag_event_does_not_undo_a_newer_one(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    runs.set_tags(store, run_uid, {"stage": "one"})
    runs.set_tags(store, run_uid, {"stage": "two"})
    assert delivered(settings, store, run_uid).data.tags["stage"] == "two"
    first = outbox.Item("run_events", 2, run_uid, {"kind": "tag", "payload": {"key": "stage", "value": "one"}})
    outbox.bury(store, target_of(settings).key, first, "for the test")
    assert delivered(settings, store, run_uid).data.tags["stage"] == "two"


def test_a_run_of_the_users_own_mlflow_is_taken_over(settings: Settings, store: Connection) -> None:
    client = client_of(settings)
    run_uid = new_run(store)
    elsewhere = client.create_experiment("of the user")
    theirs = client.create_run(elsewhere, tags={"mlops.run_uid": run_uid})
    runs.log_metrics(store, run_uid, [Metric(key="ours", value=1.0, step=0, timestamp=1)])
    assert delivered(settings, store, run_uid).info.run_id == theirs.info.run_id
    assert client.get_run(theirs.info.run_id).data.metrics == {"ours": 1.0}


def test_a_later_run_of_the_users_own_mlflow_becomes_a_child(settings: Settings, store: Connection) -> None:
    client = client_of(settings)
    run_uid = new_run(store)
    ours = delivered(settings, store, run_uid).info.run_id
    theirs = client.create_run("0", tags={"mlops.run_uid": run_uid}).info.run_id
    runs.end_run(store, run_uid, RunStatus.FINISHED)
    assert delivered(settings, store, run_uid).info.run_id == ours
    assert client.get_run(theirs).data.tags["mlflow.parentRunId"] == ours


def test_the_id_that_the_kernel_noted_is_used(settings: Settings, store: Connection) -> None:
    theirs = client_of(settings).create_run("0").info.run_id
    run_uid = new_run(store, mlflow_run_id=theirs)
    run = delivered(settings, store, run_uid)
    assert run.info.run_id == theirs
    assert run.data.tags["mlops.run_uid"] == run_uid


def test_a_deleted_experiment_is_not_brought_back(settings: Settings, store: Connection) -> None:
    client = client_of(settings)
    client.delete_experiment(client.create_experiment("train.ipynb"))
    run = delivered(settings, store, new_run(store))
    assert client.get_experiment(run.info.experiment_id).name == "train.ipynb (2)"
    assert client.get_experiment_by_name("train.ipynb").lifecycle_stage == "deleted"


def test_a_run_deleted_in_mlflow_takes_nothing_more(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    run_id = delivered(settings, store, run_uid).info.run_id
    client_of(settings).delete_run(run_id)
    runs.log_metrics(store, run_uid, [Metric(key="m", value=1.0, step=s, timestamp=1) for s in range(500)])
    report = sync(settings)
    assert {letter.error for letter in report.dead_letters} == {"The run was deleted in MLflow."}
    assert (len(report.dead_letters), report.error) == (500, None)


def test_a_run_deleted_here_is_deleted_there(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    delivered(settings, store, run_uid)
    runs.delete_run(store, run_uid)
    assert delivered(settings, store, run_uid).info.lifecycle_stage == "deleted"
    runs.log_metrics(store, run_uid, [Metric(key="late", value=1.0, step=0, timestamp=1)])
    assert sync(settings).dead_letters == ()


def test_progress_tells_what_was_delivered(settings: Settings, store: Connection) -> None:
    told: list[tuple[str, int]] = []
    run_uid = new_run(store)
    runs.log_params(store, run_uid, [Param(key="a", value="1"), Param(key="b", value="2")])
    sync(settings, progress=lambda kind, number: told.append((kind, number)))
    assert told == [("runs", 1), ("params", 2)]
