"""Control records and the audit chain, on both databases."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from mlops_jupyter.config import load_settings
from mlops_jupyter.errors import ConflictError, UnreachableError, UsageError
from mlops_jupyter.store import Connection, audit, control

from .conftest import Opener


def test_a_record_changes_only_from_the_version_that_was_read(store: Connection) -> None:
    created = control.put_record(store, "alias", "clf@champion", {"version": 1}, expected=0)
    assert (created.version, created.document) == (1, {"version": 1})
    changed = control.put_record(store, "alias", "clf@champion", {"version": 2}, expected=1)
    assert changed.version == 2
    for expected in (0, 1, 3):
        with pytest.raises(ConflictError, match="version 2"):
            control.put_record(store, "alias", "clf@champion", {"version": 9}, expected=expected)
    assert control.get_record(store, "alias", "clf@champion") == changed
    assert control.list_records(store, "alias") == [changed]
    with pytest.raises(ConflictError):
        control.delete_record(store, "alias", "clf@champion", expected=1)
    control.delete_record(store, "alias", "clf@champion", expected=2)
    assert control.get_record(store, "alias", "clf@champion") is None


def test_a_record_must_be_json(store: Connection) -> None:
    for document in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(UsageError, match="JSON"):
            control.put_record(store, "k", "n", document, expected=0)


def test_of_two_who_change_at_once_one_wins(opener: Opener) -> None:
    control.put_record(opener(), "lease", "gateway", {}, expected=0)
    barrier = threading.Barrier(2)
    outcomes: list[str] = []

    def change(store: Connection, holder: str) -> None:
        barrier.wait()
        try:
            control.put_record(store, "lease", "gateway", {"holder": holder}, expected=1)
            outcomes.append("won")
        except ConflictError:
            outcomes.append("lost")

    threads = [threading.Thread(target=change, args=(opener(), name)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost", "won"]


def test_a_change_and_its_audit_entry_are_one(store: Connection) -> None:
    with pytest.raises(ConflictError), store.transaction(durable=True):
        audit.append(store, "ada", "git", "promote", "clf", {})
        control.put_record(store, "alias", "clf", {}, expected=5)
    assert list(audit.entries(store)) == []


def _three(store: Connection) -> list[audit.AuditEntry]:
    return [audit.append(store, "ada", "git", "promote", f"clf/{n}", {"n": n, "who": "é\0"}) for n in range(3)]


def test_the_chain_holds(store: Connection) -> None:
    assert audit.verify(store) == audit.Verification(0, audit.GENESIS)
    written = _three(store)
    assert list(audit.entries(store)) == written
    assert audit.verify(store) == audit.Verification(3, written[-1].digest)
    assert audit.verify(store, known_head=written[0].digest).intact
    lines = [json.loads(line) for line in audit.export(store)]
    assert [line["subject"] for line in lines[:-1]] == ["clf/0", "clf/1", "clf/2"]
    assert lines[-1] == {"head": written[-1].digest, "rows": 3}


@pytest.mark.parametrize(
    ("statement", "broken_at"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE seq = 2", 2),
        ("UPDATE audit SET detail = '{}' WHERE seq = 1", 1),
        ("UPDATE audit SET at = at + 1 WHERE seq = 3", 3),
        ("UPDATE audit SET digest = 'x' WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("UPDATE audit SET seq = CASE seq WHEN 1 THEN 12 ELSE 11 END WHERE seq < 3", 1),
        ("INSERT INTO audit SELECT 0, at, actor, actor_source, action, subject, detail, previous, digest "
         "FROM audit WHERE seq = 1", 1),
    ],
)  # fmt: skip
def test_tampering_is_found(store: Connection, statement: str, broken_at: int) -> None:
    _three(store)
    store.execute(statement)
    found = audit.verify(store)
    assert not found.intact
    assert (found.broken_at, found.rows) == (broken_at, broken_at - 1)


def test_two_rows_that_changed_places_are_found(store: Connection) -> None:
    _three(store)
    store.execute("UPDATE audit SET seq = 10 WHERE seq = 2")
    store.execute("UPDATE audit SET seq = 2 WHERE seq = 3")
    store.execute("UPDATE audit SET seq = 3 WHERE seq = 10")
    assert audit.verify(store).broken_at == 2


def test_a_cut_tail_is_found_with_a_known_head(store: Connection) -> None:
    head = _three(store)[-1].digest
    store.execute("DELETE FROM audit WHERE seq = 3")
    assert audit.verify(store).intact
    found = audit.verify(store, known_head=head)
    assert (found.broken_at, found.rows) == (3, 2)
    audit.append(store, "eve", "os", "promote", "clf", {})
    assert not audit.verify(store, known_head=head).intact


def test_an_entry_must_be_json(store: Connection) -> None:
    with pytest.raises(UsageError, match="JSON"):
        audit.append(store, "a", "os", "b", "c", {"x": float("inf")})


_APPENDER = """
import sys
from pathlib import Path
from mlops_jupyter.store import audit, open_store, open_url
where = sys.argv[1]
store = open_url(where) if where.startswith("postgresql") else open_store(Path(where))
print("ready", flush=True)
sys.stdin.readline()
for n in range(40):
    audit.append(store, "ada", "os", "test", sys.argv[2], {"n": n})
"""


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_processes_that_append_at_once_never_fork_the_chain(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where = str(tmp_path / "lineage.db") if database == "sqlite" else request.getfixturevalue("postgres_url")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_APPENDER), where, str(n)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for n in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0
    from mlops_jupyter.store import open_store, open_url

    store: Connection = open_store(Path(where)) if database == "sqlite" else open_url(where)
    try:
        assert (audit.verify(store).rows, audit.verify(store).reason) == (120, "")
    finally:
        store.close()


def test_control_records_are_local_without_a_team_store(home: Path) -> None:
    store = control.open_control(load_settings(home, {}))
    assert store.dialect == "sqlite"
    store.close()


@pytest.mark.postgres
def test_control_records_are_the_teams_where_one_is_set(home: Path, postgres_url: str) -> None:
    store = control.open_control(load_settings(home, {"MLOPS_STORE_URL": postgres_url}))
    assert store.dialect == "postgresql"
    store.close()


@pytest.mark.postgres
def test_a_team_store_that_cannot_be_reached_ends_with_5(home: Path) -> None:
    pytest.importorskip("psycopg")
    settings = load_settings(home, {"MLOPS_STORE_URL": "postgresql://ada:secret@127.0.0.1:1/db"})
    with pytest.raises(UnreachableError) as caught:
        control.open_control(settings)
    assert caught.value.exit_code == 5
    assert "127.0.0.1:1/db" in str(caught.value)
    assert "secret" not in str(caught.value)
