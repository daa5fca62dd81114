"""What only a server can do: vanish, come back, be of another version, wait for another client."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator

import pytest

from mlops_jupyter.errors import MlopsError, NewerSchemaError, TransientError, UnreachableError, UsageError
from mlops_jupyter.store import PostgresConnection, open_url, runs
from mlops_jupyter.store.postgres import place, to_psycopg

from . import make


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            "SELECT ?, '?', \"a?\", 'it''s ?' FROM t WHERE a LIKE ?",
            "SELECT %s, '?', \"a?\", 'it''s ?' FROM t WHERE a LIKE %s",
        ),
        ("SELECT '100%' WHERE 5 % ? = 1", "SELECT '100%%' WHERE 5 %% %s = 1"),
        ("SELECT 1", "SELECT 1"),
    ],
)
def test_placeholders_are_translated_outside_of_quotes(ours: str, theirs: str) -> None:
    assert to_psycopg(ours) == theirs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:secret@db.example:5432/mlops?sslmode=require", "PostgreSQL db.example:5432/mlops"),
        ("postgresql:///mlops", "PostgreSQL localhost/mlops"),
        ("postgresql://ada:sec@ret@host/db", "PostgreSQL host/db"),
        ("postgresql://ada:sec/ret@host/db", "PostgreSQL host/db"),
    ],
)
def test_a_place_is_shown_without_its_password(url: str, shown: str) -> None:
    assert place(url) == shown


@pytest.mark.parametrize("url", ["mysql://a/b", "", "sqlite:///x.db", "postgresql+psycopg://a/b"])
def test_another_kind_of_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="Expected postgresql://"):
        open_url(url)


@pytest.mark.parametrize("url", ["postgresql://a/b?no_such_option=1", "postgresql://[::1/db"])
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(UsageError, match="MLOPS_STORE_URL"):
        open_url(url)


def test_a_server_that_is_not_there() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(UnreachableError) as caught:
        open_url("postgresql://ada:secret@127.0.0.1:1/db")
    assert caught.value.exit_code == 5
    assert "secret" not in str(caught.value)


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresConnection]:
    connection = open_url(postgres_url)
    yield connection
    connection.close()


def _cut(url: str, victim: PostgresConnection) -> None:
    """End the session of ``victim`` from outside, as a restart of the server does."""
    ((pid,),) = victim.execute("SELECT pg_backend_pid()")
    import psycopg

    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))


@pytest.mark.postgres
def test_a_database_that_does_not_exist(postgres_server: str) -> None:
    with pytest.raises(UsageError, match=r"refused the login.*no_such_db.*does not exist"):
        open_url(postgres_server.replace("/postgres?", "/no_such_db?"))


@pytest.mark.postgres
def test_a_lost_connection_is_opened_again(store: PostgresConnection, postgres_url: str) -> None:
    run = make.run()
    runs.start_run(store, run)
    _cut(postgres_url, store)
    assert runs.get_run(store, run.run_uid).run_uid == run.run_uid, "reading is tried again"
    _cut(postgres_url, store)
    runs.set_note(store, run.run_uid, "a transaction begins anew")
    _cut(postgres_url, store)
    with pytest.raises(TransientError):
        runs.log_metrics(store, run.run_uid, [make.metric("m", 1.0)])
    runs.log_metrics(store, run.run_uid, [make.metric("m", 1.0)])


@pytest.mark.postgres
def test_a_transaction_that_is_cut_leaves_nothing(store: PostgresConnection, postgres_url: str) -> None:
    run = make.run()
    with pytest.raises(TransientError), store.transaction():
        runs.start_run(store, run)
        _cut(postgres_url, store)
        runs.log_metrics(store, run.run_uid, [make.metric("m", 1.0)])
    assert runs.load_runs(store, [run.run_uid]) == []
    runs.start_run(store, run)


@pytest.mark.postgres
def test_a_store_of_a_newer_version_is_refused(store: PostgresConnection, postgres_url: str) -> None:
    store.execute("INSERT INTO migrations (name, applied_at) VALUES ('9999_later', 0)")
    with pytest.raises(NewerSchemaError):
        open_url(postgres_url)


@pytest.mark.postgres
def test_many_who_open_an_empty_database_at_once(postgres_url: str) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(5)

    def open_it() -> None:
        try:
            barrier.wait()
            connection = open_url(postgres_url)
            runs.start_run(connection, make.run())
            connection.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.postgres
def test_a_long_parameter_fits(store: PostgresConnection) -> None:
    """A plain index on values would refuse it: entries hold at most 2.7 kB."""
    import random

    text = "".join(random.Random(1).choices("0123456789abcdef", k=50_000))
    run = make.run(params={"p": text}, tags={"t": text})
    runs.start_run(store, run)
    assert runs.get_run(store, run.run_uid).params == {"p": text}


@pytest.mark.postgres
def test_a_lock_that_is_never_given_back_is_told(store: PostgresConnection, postgres_url: str) -> None:
    other = open_url(postgres_url)
    try:
        store.execute("SET lock_timeout = 50")
        with other.transaction():
            other.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(TransientError, match="busy"):
                runs.start_run(store, make.run())
    finally:
        other.close()


def _in_child(store: PostgresConnection, results: multiprocessing.SimpleQueue[str]) -> None:
    try:
        runs.start_run(store, make.run())
        results.put("fine")
    except MlopsError as error:
        results.put(str(error))


@pytest.mark.postgres
def test_a_forked_child_connects_anew(store: PostgresConnection) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(store, results))
    child.start()
    assert results.get() == "fine"
    child.join()
    runs.start_run(store, make.run())
    assert store.execute("SELECT COUNT(*) FROM runs") == [(2,)]
