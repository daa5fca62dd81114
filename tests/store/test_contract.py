"""What the store promises, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import math
import threading

import pytest

from mlops_jupyter.entities import (
    Artifact,
    DatasetVersion,
    Digest,
    EntityKind,
    Grade,
    ModelRecord,
    Param,
    ParamSource,
    RunStatus,
    RunUid,
    Used,
    VersionId,
)
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.store import Connection, executions, outbox, runs

from . import make
from .conftest import Opener

pytestmark = pytest.mark.filterwarnings("error")


def test_execution_round_trip(store: Connection) -> None:
    executions.start_session(store, make.session(environment=Digest("sha256:env")), environment='{"python": "3.11"}')
    first, second = make.execution(0), make.execution(1, error="ValueError: no", run_uid=RunUid("r" * 32))
    x = make.version("x", first.execution_id, type_name="int", summary="1", digest=Digest("xxh3:1"))
    weak = make.version("x", second.execution_id, strong=False, previous=x.version_id, grade=Grade.ASSUMED, at=12.0)
    use = Used(execution_id=second.execution_id, version_id=x.version_id, grade=Grade.EXACT, reason="read")

    executions.append_execution(store, first, versions=[x])
    executions.append_execution(store, second, versions=[weak], uses=[use, use])

    assert executions.session_executions(store, make.SESSION) == [first, second]
    assert executions.get_executions(store, [second.execution_id, first.execution_id]) == [first, second]
    assert executions.run_executions(store, RunUid("r" * 32)) == [second]
    assert executions.versions_generated(store, [first.execution_id]) == [x]
    assert executions.get_versions(store, [x.version_id]) == [x]
    assert executions.versions_named(store, EntityKind.VARIABLE, "x") == [x, weak]
    assert executions.derived_from(store, [x.version_id]) == [weak]
    assert executions.uses_by(store, [second.execution_id]) == [use]
    assert executions.uses_of(store, [x.version_id]) == [use]
    assert executions.notebook_sessions(store, "a.ipynb") == [make.SESSION]
    assert executions.environment(store, Digest("sha256:env")) == '{"python": "3.11"}'


def test_session_ends_once(store: Connection) -> None:
    executions.start_session(store, make.session())
    assert [s.session_id for s in executions.open_sessions(store)] == [make.SESSION]
    executions.end_session(store, make.SESSION, at=5.0)
    executions.end_session(store, make.SESSION, at=6.0)
    ended = executions.get_session(store, make.SESSION)
    assert ended is not None
    assert ended.ended_at == 5.0
    assert executions.open_sessions(store) == []


def test_a_failing_append_leaves_nothing(store: Connection) -> None:
    first = make.execution(0)
    executions.append_execution(store, first)
    again = make.version("x", first.execution_id)
    with pytest.raises(UsageError):
        executions.append_execution(store, first, versions=[again])
    assert executions.get_versions(store, [again.version_id]) == []


def test_more_ids_than_one_statement_takes(store: Connection) -> None:
    many = [make.version(f"v{n}", None) for n in range(1201)]
    executions.append_versions(store, many)
    assert len(executions.get_versions(store, [v.version_id for v in many])) == 1201


def test_run_round_trip(store: Connection) -> None:
    run = make.run(params={"lr": "0.1"}, tags={"team": "a"}, note="n", notebook="a.ipynb")
    runs.start_run(store, run)
    runs.log_metrics(store, run.run_uid, [make.metric("acc", 0.9)])
    stored = runs.get_run(store, run.run_uid)
    assert stored.params == {"lr": "0.1"}
    assert stored.tags == {"team": "a"}
    assert stored.metrics == {"acc": 0.9}
    assert (stored.name, stored.note, stored.notebook, stored.user) == ("a run", "n", "a.ipynb", "ada")


def test_a_run_ends_once(store: Connection) -> None:
    run = make.run()
    runs.start_run(store, run)
    assert runs.end_run(store, run.run_uid, RunStatus.FINISHED, at=2.0)
    assert not runs.end_run(store, run.run_uid, RunStatus.KILLED, at=3.0)
    stored = runs.get_run(store, run.run_uid)
    assert (stored.status, stored.ended_at) == (RunStatus.FINISHED, 2.0)


def test_parameters_cannot_change_and_a_refused_call_adds_nothing(store: Connection) -> None:
    run = make.run()
    runs.start_run(store, run)
    runs.log_params(store, run.run_uid, [Param(key="a", value="1", type_name="int")])
    runs.log_params(store, run.run_uid, [Param(key="a", value="1")])
    with pytest.raises(UsageError, match="'a' of this run is '1'"):
        runs.log_params(store, run.run_uid, [Param(key="b", value="2"), Param(key="a", value="3")])
    with pytest.raises(UsageError, match="'c'"):
        runs.log_params(store, run.run_uid, [Param(key="c", value="1"), Param(key="c", value="2")])
    found = [Param(key="a", value="9", source=ParamSource.LITERAL), Param(key="d", value="4")]
    runs.log_params(store, run.run_uid, found, found=True)
    assert {p.key: (p.value, p.type_name) for p in runs.run_params(store, run.run_uid)} == {
        "a": ("1", "int"),
        "d": ("4", "str"),
    }


def test_the_latest_metric_is_chosen_as_in_mlflow(store: Connection) -> None:
    run = make.run()
    runs.start_run(store, run)
    uid = run.run_uid
    runs.log_metrics(store, uid, [make.metric("m", 1.0, step=2), make.metric("m", 2.0, step=1)])
    assert runs.get_run(store, uid).metrics == {"m": 1.0}
    runs.log_metrics(store, uid, [make.metric("m", 5.0, step=2)])
    runs.log_metrics(store, uid, [make.metric("m", 3.0, step=2)])
    assert runs.get_run(store, uid).metrics == {"m": 5.0}, "of equal step and time the greater one"
    runs.log_metrics(store, uid, [make.metric("m", 0.5, step=2, timestamp=1_700_000_000_001)])
    assert runs.get_run(store, uid).metrics == {"m": 0.5}
    assert [m.value for m in runs.metric_history(store, uid, "m")] == [2.0, 1.0, 5.0, 3.0, 0.5]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 5e-324, -0.0, 1.7976931348623157e308, 0.1])
def test_numbers_come_back_exactly(store: Connection, value: float) -> None:
    run = make.run()
    runs.start_run(store, run)
    runs.log_metrics(store, run.run_uid, [make.metric("m", value, step=2**62, timestamp=2**62)])
    (stored,) = runs.metric_history(store, run.run_uid, "m")
    assert (stored.value, stored.step, stored.timestamp) == (value, 2**62, 2**62)


def test_nan_comes_back_as_nan(store: Connection) -> None:
    run = make.run()
    runs.start_run(store, run)
    runs.log_metrics(store, run.run_uid, [make.metric("m", math.nan)])
    assert math.isnan(runs.get_run(store, run.run_uid).metrics["m"])
    assert math.isnan(runs.metric_history(store, run.run_uid, "m")[0].value)


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, 10**40])
def test_a_step_beyond_64_bits_is_refused(store: Connection, step: int) -> None:
    run = make.run()
    runs.start_run(store, run)
    for values in (
        [make.metric("m", 1.0, step=step)],
        [make.metric("m", 1.0), make.metric("m", 1.0, step=step)],
    ):
        with pytest.raises(UsageError):
            runs.log_metrics(store, run.run_uid, values)
    assert runs.metric_history(store, run.run_uid, "m") == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\0b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("Größe 😀 ' \" ? % %s $1 \\ ;--", "Größe 😀 ' \" ? % %s $1 \\ ;--"),
        ("", ""),
        ("x" * 100_000, "x" * 100_000),
    ],
)
def test_any_text_is_kept(store: Connection, text: str, kept: str) -> None:
    run = make.run(name=text, params={"p": text}, tags={"t": text})
    runs.start_run(store, run)
    runs.set_note(store, run.run_uid, text)
    stored = runs.get_run(store, run.run_uid)
    assert stored.params == {"p": kept}
    assert (stored.name, stored.tags, stored.note) == (kept, {"t": kept}, kept)
    runs.log_params(store, run.run_uid, [Param(key="p", value=text)])


def test_hostile_keys_are_keys(store: Connection) -> None:
    run = make.run()
    runs.start_run(store, run)
    for key in ("a\0", "'; DROP TABLE runs; --", "%s", "?", "ключ", ""):
        runs.log_metrics(store, run.run_uid, [make.metric(key, 1.0)])
        assert len(runs.metric_history(store, run.run_uid, key)) == 1


def test_details_of_a_run(store: Connection) -> None:
    run = make.run()
    runs.start_run(store, run)
    uid = run.run_uid
    data = DatasetVersion(name="d", digest=Digest("sha256:1"), source="d.csv", context="training", shape=(3, 2))
    model = ModelRecord(
        model_uid="m" * 32, name="clf", class_name="X", flavor="sklearn", digest=None, size=0,
        requirements=("a==1",), error="too large",
    )  # fmt: skip
    for _ in range(2):
        runs.add_dataset(store, uid, data)
        runs.add_model(store, uid, model)
    runs.add_artifact(store, uid, Artifact(path="a.txt", digest=Digest("sha256:a"), size=1))
    runs.add_artifact(store, uid, Artifact(path="a.txt", digest=Digest("sha256:b"), size=2))
    assert runs.run_datasets(store, uid) == [data]
    assert runs.run_models(store, uid) == [model]
    assert runs.run_artifacts(store, uid) == [Artifact(path="a.txt", digest=Digest("sha256:b"), size=2)]


def test_a_run_is_named_by_id_mlflow_id_or_prefix(store: Connection) -> None:
    a, b = RunUid("abcdef0123" + "0" * 22), RunUid("abcdef0123" + "1" * 22)
    for uid in (a, b):
        runs.start_run(store, make.run(run_uid=uid))
    runs.set_mlflow_run_id(store, a, "f" * 32)
    assert runs.resolve_run(store, a) == a
    assert runs.resolve_run(store, "f" * 32) == a
    assert runs.resolve_run(store, "f" * 8) == a
    assert runs.resolve_run(store, "ABCDEF01231") == b
    with pytest.raises(UsageError, match="Several"):
        runs.resolve_run(store, "abcdef01")
    with pytest.raises(UsageError, match="too short"):
        runs.resolve_run(store, "abcdef")
    for unknown in ("0" * 32, "12345678", "%" * 8, "", "no such run"):
        with pytest.raises(TargetNotFoundError):
            runs.resolve_run(store, unknown)
    with pytest.raises(TargetNotFoundError):
        runs.get_run(store, RunUid("no"))


def test_deleting_twice_is_one_event(store: Connection) -> None:
    run = make.run()
    runs.start_run(store, run)
    runs.delete_run(store, run.run_uid)
    runs.delete_run(store, run.run_uid)
    assert runs.get_run(store, run.run_uid).deleted_at is not None
    kinds = [item.data["kind"] for item in outbox.pending(store, "t", "run_events")]
    assert kinds == ["started", "deleted"]


def test_transactions_join_and_roll_back_as_one(store: Connection) -> None:
    run = make.run()
    with pytest.raises(ZeroDivisionError), store.transaction():
        runs.start_run(store, run)
        with store.transaction():
            runs.log_metrics(store, run.run_uid, [make.metric("m", 1.0)])
        raise ZeroDivisionError
    assert runs.load_runs(store, [run.run_uid]) == []
    runs.start_run(store, run)
    assert runs.get_run(store, run.run_uid).run_uid == run.run_uid


def test_a_durable_transaction_does_not_join_a_lesser_one(store: Connection) -> None:
    with store.transaction(durable=True), store.transaction(durable=True), store.transaction():
        runs.start_run(store, make.run())
    with pytest.raises(RuntimeError), store.transaction(), store.transaction(durable=True):
        pass


def test_threads_share_a_connection(store: Connection) -> None:
    run = make.run()
    runs.start_run(store, run)
    failures: list[BaseException] = []

    def log(number: int) -> None:
        try:
            for step in range(20):
                runs.log_metrics(store, run.run_uid, [make.metric(f"m{number}", 1.0, step=step)])
                runs.set_tags(store, run.run_uid, {f"t{number}": str(step)})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=log, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    ((count,),) = store.execute("SELECT COUNT(*) FROM metrics")
    assert count == 80


def test_one_connection_sees_what_another_wrote(opener: Opener) -> None:
    one, two = opener(), opener()
    run = make.run()
    runs.start_run(one, run)
    assert runs.get_run(two, run.run_uid).run_uid == run.run_uid


def test_closing_twice_is_fine_and_use_after_is_an_error(store: Connection) -> None:
    store.close()
    store.close()
    with pytest.raises(UsageError, match="closed"):
        store.execute("SELECT 1")


def test_an_executemany_of_nothing_is_nothing(store: Connection) -> None:
    store.executemany("INSERT INTO cursors (target, stream, position) VALUES (?,?,?)", [])
    runs.log_metrics(store, RunUid("r"), [])
    executions.append_versions(store, [])
    assert executions.get_versions(store, [VersionId(1)]) == []
