"""What only a file can suffer: processes that die or start at once, full and read-only disks, broken files."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_jupyter.errors import MlopsError, NewerSchemaError, TransientError, UsageError
from mlops_jupyter.store import SQLiteConnection, open_store, runs
from mlops_jupyter.store.migrations import MIGRATIONS, is_current

from . import make


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteConnection]:
    connection = open_store(tmp_path / "lineage.db")
    yield connection
    connection.close()


def _python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


_OPENER = """
import sys
from pathlib import Path
from mlops_jupyter.store import open_store, runs
from tests.store import make

print("ready", flush=True)
for line in sys.stdin:
    store = open_store(Path(line.strip()) / "lineage.db")
    runs.start_run(store, make.run())
    store.close()
    print("done", flush=True)
"""


def test_three_processes_that_start_at_once_in_an_empty_folder(tmp_path: Path) -> None:
    processes = [_python(_OPENER) for _ in range(3)]
    try:
        assert [p.stdout.readline() for p in processes if p.stdout] == ["ready\n"] * 3
        for number in range(100):
            folder = tmp_path / str(number)
            folder.mkdir()
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(f"{folder}\n")
                process.stdin.flush()
            assert [p.stdout.readline() for p in processes if p.stdout] == ["done\n"] * 3, f"round {number}"
            with sqlite3.connect(folder / "lineage.db") as raw:
                assert raw.execute("SELECT COUNT(*) FROM runs").fetchone() == (3,)
            raw.close()
    finally:
        for process in processes:
            process.communicate(timeout=30)


_LOGGER = """
import sys
from pathlib import Path
from mlops_jupyter.store import open_store, runs
from tests.store import make

store = open_store(Path(sys.argv[1]))
run = make.run()
runs.start_run(store, run)
step = 0
while True:
    runs.log_metrics(store, run.run_uid, [make.metric("loss", float(step), step=step)])
    print(step, flush=True)
    step += 1
"""


def test_kill_9_loses_nothing_that_was_logged(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    process = _python(_LOGGER, path)
    assert process.stdout is not None
    logged = -1
    while logged < 200:
        logged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=30)
    # What was on its way through the pipe counts too; the last line may be cut.
    logged = max([logged, *(int(line) for line in rest.splitlines()[:-1])])
    store = open_store(path)
    try:
        ((count, last),) = store.execute("SELECT COUNT(*), MAX(step) FROM metrics")
        ((value,),) = store.execute("SELECT value FROM latest_metrics")
    finally:
        store.close()
    assert last >= logged
    assert (count, value) == (last + 1, float(last))


def test_the_write_ahead_log_stays_small(store: SQLiteConnection) -> None:
    run = make.run()
    runs.start_run(store, run)
    for step in range(6000):
        runs.log_metrics(store, run.run_uid, [make.metric("m", 1.0, step=step)])
    assert Path(f"{store.path}-wal").stat().st_size < 8 * 2**20


def test_a_log_that_a_reader_held_open_is_cut_back(store: SQLiteConnection) -> None:
    run = make.run()
    runs.start_run(store, run)
    reader = sqlite3.connect(store.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM metrics").fetchall()
    with store.transaction():
        for _ in range(6):
            runs.set_note(store, run.run_uid, "x" * 4 * 2**20)
            runs.set_tags(store, run.run_uid, {"t": "x" * 4 * 2**20})
    wal = Path(f"{store.path}-wal")
    assert wal.stat().st_size > 20 * 2**20
    reader.close()
    for step in range(3):
        runs.log_metrics(store, run.run_uid, [make.metric("m", 1.0, step=step)])
    assert wal.stat().st_size <= 16 * 2**20


def test_a_full_disk_is_told_and_loses_nothing(store: SQLiteConnection) -> None:
    run = make.run()
    runs.start_run(store, run)
    runs.log_metrics(store, run.run_uid, [make.metric("m", 1.0)])
    ((pages,),) = store.execute("PRAGMA page_count")
    store.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(TransientError, match="full") as caught:
        for step in range(10_000):
            runs.log_metrics(store, run.run_uid, [make.metric("m", 2.0, step=step)])
    assert caught.value.exit_code == 75
    with pytest.raises(TransientError, match="full"), store.transaction():
        runs.set_note(store, run.run_uid, "x" * 100_000)
    assert runs.get_run(store, run.run_uid).note == ""
    store.execute("PRAGMA max_page_count=1000000")
    runs.set_note(store, run.run_uid, "there is space again")
    assert runs.get_run(store, run.run_uid).note == "there is space again"
    assert store.execute("PRAGMA integrity_check") == [("ok",)]


_FULL = """
import resource, signal, sys
from pathlib import Path
from mlops_jupyter.errors import TransientError
from mlops_jupyter.store import open_store, runs
from tests.store import make

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_store(Path(sys.argv[1]))
run = make.run()
runs.start_run(store, run)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
step = 0
try:
    while True:
        runs.log_metrics(store, run.run_uid, [make.metric("m", 1.0, step=step)])
        step += 1
except TransientError as error:
    print(step, error)
"""


def test_a_file_that_can_grow_no_more_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    process = _python(_FULL, path)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    step, _, message = output.partition(" ")
    assert "cannot be opened or written" in message or "full" in message
    store = open_store(path)
    try:
        ((count,),) = store.execute("SELECT COUNT(*) FROM metrics")
        assert store.execute("PRAGMA integrity_check") == [("ok",)]
    finally:
        store.close()
    assert count >= int(step) > 0


_READ_ONLY = """
import os, sys
from pathlib import Path
from mlops_jupyter.errors import TransientError
from mlops_jupyter.store import open_store

if os.getuid() == 0:
    os.setuid(int(sys.argv[2]))
try:
    open_store(Path(sys.argv[1]))
except TransientError as error:
    print(error)
"""


@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_folder_is_told(exists: bool) -> None:
    # Not below tmp_path, which another user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="mlops-ro-"))
    try:
        path = folder / "state" / "lineage.db"
        path.parent.mkdir()
        if exists:
            open_store(path).close()
            path.chmod(0o444)
        folder.chmod(0o555)
        path.parent.chmod(0o555)
        output, _ = _python(_READ_ONLY, path, pwd.getpwnam("nobody").pw_uid).communicate(timeout=30)
    finally:
        for opened in (folder, folder / "state"):
            opened.chmod(0o755)
        shutil.rmtree(folder)
    assert str(folder) in output
    assert "MLOPS_HOME" in output or "writable" in output


def test_a_database_of_a_newer_version_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    store = open_store(path)
    store.execute("INSERT INTO migrations (name, applied_at) VALUES ('9999_later', 0)")
    store.close()
    before = path.read_bytes()
    with pytest.raises(NewerSchemaError, match="pip install -U") as caught:
        open_store(path)
    assert caught.value.exit_code == 2
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"this is a text file, not a database\n" * 200, b"\x00" * 8192, os.urandom(8192)])
def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lineage.db"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"lineage\.db is not a usable SQLite database") as caught:
        open_store(path)
    assert "Move it away" in str(caught.value) or "move it away" in str(caught.value)
    assert path.read_bytes() == content


def test_a_truncated_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    store = open_store(path)
    run = make.run()
    runs.start_run(store, run)
    for step in range(3000):
        runs.log_metrics(store, run.run_uid, [make.metric("m", 1.0, step=step)])
    store.close()
    os.truncate(path, path.stat().st_size // 2)
    size = path.stat().st_size

    def read_all() -> None:
        opened = open_store(path)
        try:
            opened.execute("SELECT COUNT(*), SUM(value) FROM metrics")
            runs.metric_history(opened, run.run_uid, "m")
        finally:
            opened.close()

    with pytest.raises(UsageError, match="not a usable SQLite database"):
        read_all()
    assert path.stat().st_size == size


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    path.touch()
    store = open_store(path)
    assert is_current(store)
    store.close()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="cannot be opened"):
        open_store(tmp_path / "missing" / "lineage.db")


def test_a_half_done_migration_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(connection: object) -> None:
        connection.execute("CREATE TABLE half (a TEXT)")  # type: ignore[attr-defined]
        raise RuntimeError("no")

    path = tmp_path / "lineage.db"
    open_store(path).close()
    monkeypatch.setattr("mlops_jupyter.store.migrations.MIGRATIONS", (*MIGRATIONS, ("9000_x", fails)))
    with pytest.raises(RuntimeError):
        open_store(path)
    monkeypatch.undo()
    store = open_store(path)
    assert store.execute("SELECT name FROM sqlite_master WHERE name = 'half'") == []
    store.close()


def test_a_busy_store_waits_and_then_says_so(store: SQLiteConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_jupyter.store.sqlite.BUSY_TIMEOUT", 0.05)
    other = SQLiteConnection(store.path)
    try:
        with store.transaction(), pytest.raises(TransientError, match="busy"):
            runs.start_run(other, make.run())
        runs.start_run(other, make.run())
    finally:
        other.close()


def test_an_interrupt_inside_a_transaction_leaves_no_transaction_open(store: SQLiteConnection) -> None:
    with pytest.raises(KeyboardInterrupt), store.transaction():
        runs.start_run(store, make.run())
        raise KeyboardInterrupt
    runs.start_run(store, make.run())
    assert store.execute("SELECT COUNT(*) FROM runs") == [(1,)]


def _in_child(store: SQLiteConnection, results: multiprocessing.SimpleQueue[str]) -> None:
    try:
        runs.start_run(store, make.run())
        results.put("fine")
    except MlopsError as error:
        results.put(str(error))


def test_a_forked_child_opens_the_file_anew(store: SQLiteConnection) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    with store.transaction():
        runs.start_run(store, make.run())
    child = context.Process(target=_in_child, args=(store, results))
    child.start()
    assert results.get() == "fine"
    child.join()
    assert child.exitcode == 0
    runs.start_run(store, make.run())
    assert store.execute("SELECT COUNT(*) FROM runs") == [(3,)]


def test_reading_only(store: SQLiteConnection) -> None:
    runs.start_run(store, make.run())
    reader = SQLiteConnection(store.path, read_only=True)
    assert reader.execute("SELECT COUNT(*) FROM runs") == [(1,)]
    with pytest.raises(TransientError, match="read-only"):
        runs.start_run(reader, make.run())
    reader.close()
