"""Files link cells across sessions: versions and uses in a real store."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from mlops_jupyter.capture.files import FileTracker, to_lineage
from mlops_jupyter.entities import (
    CellExecution,
    Digest,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Grade,
    SessionId,
    Used,
)
from mlops_jupyter.store import SQLiteConnection, open_store
from mlops_jupyter.store.executions import append_execution, get_versions, uses_of

FRAME = pd.DataFrame({"a": [1, 2, 3]})


class Notebook:
    """One session that records what its cells do to files."""

    def __init__(self, root: Path, store: SQLiteConnection) -> None:
        self.session_id = SessionId(uuid.uuid4().hex)
        self.tracker = FileTracker(root, self.session_id)
        self.store = store
        self.position = 0

    def cell(self, code: Callable[[], object]) -> tuple[tuple[EntityVersion, ...], tuple[Used, ...]]:
        execution_id = ExecutionId(uuid.uuid4().hex)
        self.tracker.install()
        self.tracker.begin()
        try:
            code()
        finally:
            access = self.tracker.end(execution_id)
            self.tracker.uninstall()
        assert self.tracker.faults == []
        versions, uses = to_lineage(access, self.store, session_id=self.session_id, execution_id=execution_id)
        execution = CellExecution(
            execution_id=execution_id, session_id=self.session_id, position=self.position,
            execution_count=None, cell_id=None, notebook=None, source="…",
            source_digest=Digest("xxh3:0"), started_at=time.time(), duration=0.0, status=ExecutionStatus.OK,
        )  # fmt: skip
        self.position += 1
        append_execution(self.store, execution, versions=versions, uses=uses)
        return versions, uses


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteConnection]:
    (tmp_path / ".mlops" / "locks").mkdir(parents=True)
    connection = open_store(tmp_path / ".mlops" / "lineage.db")
    yield connection
    connection.close()


@pytest.fixture
def notebook(tmp_path: Path, store: SQLiteConnection, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Notebook]:
    monkeypatch.chdir(tmp_path)
    return lambda: Notebook(tmp_path, store)


def write() -> None:
    FRAME.to_csv("a.csv")


def read() -> None:
    pd.read_csv("a.csv")


def test_a_read_in_another_session_uses_the_version_that_was_written(
    notebook: Callable[[], Notebook],
) -> None:
    (written,), _ = notebook().cell(write)
    versions, (use,) = notebook().cell(read)
    assert versions == ()
    assert (use.version_id, use.grade) == (written.version_id, Grade.EXACT)
    assert written.execution_id is not None
    assert written.reason == "opened with mode w"


def test_the_latest_of_several_versions_is_used_and_an_older_one_when_it_is_put_back(
    notebook: Callable[[], Notebook],
) -> None:
    first = notebook()
    (old,), _ = first.cell(write)
    shutil.copy("a.csv", "backup")
    (new,), _ = first.cell(lambda: FRAME.assign(b=1).to_csv("a.csv"))
    second = notebook()
    assert [use.version_id for use in second.cell(read)[1]] == [new.version_id]
    shutil.copy("backup", "a.csv")
    assert [use.version_id for use in second.cell(read)[1]] == [old.version_id]


def test_a_file_from_outside_is_one_version_for_all_sessions(
    notebook: Callable[[], Notebook], store: SQLiteConnection
) -> None:
    write()
    (outside,), (use,) = notebook().cell(read)
    versions, (other,) = notebook().cell(read)
    assert (outside.execution_id, outside.reason) == (None, "made outside of what was recorded")
    assert versions == ()
    assert use.version_id == other.version_id == outside.version_id
    assert len(uses_of(store, [outside.version_id])) == 2


def test_a_file_that_changed_outside_is_a_new_version_that_says_so(notebook: Callable[[], Notebook]) -> None:
    notebook().cell(write)
    FRAME.assign(c=3).to_csv("a.csv")
    (changed,), (use,) = notebook().cell(read)
    assert (changed.execution_id, changed.reason) == (None, "changed outside of what was recorded")
    assert use.version_id == changed.version_id


def test_an_append_derives_from_what_was_there(notebook: Callable[[], Notebook], store: SQLiteConnection) -> None:
    def append() -> None:
        with Path("a.csv").open("a") as stream:
            stream.write("9,9\n")

    one = notebook()
    (written,), _ = one.cell(write)
    (appended,), uses = notebook().cell(append)
    assert (appended.strong, appended.previous, uses) == (False, written.version_id, ())
    (again,), _ = one.cell(append)
    assert again.previous == appended.version_id
    Path("unknown").write_text("x")
    outside, weak = one.cell(lambda: append_to("unknown"))[0]
    assert (outside.execution_id, weak.previous) == (None, outside.version_id)
    assert [version.digest for version in get_versions(store, [outside.version_id])] == [outside.digest]


def append_to(name: str) -> None:
    with Path(name).open("a") as stream:
        stream.write("more")


def test_read_and_overwritten_in_one_cell_uses_the_old_and_makes_the_new(
    notebook: Callable[[], Notebook],
) -> None:
    one = notebook()
    (old,), _ = one.cell(write)
    (new,), (use,) = one.cell(lambda: pd.read_csv("a.csv").assign(z=1).to_csv("a.csv"))
    assert use.version_id == old.version_id
    assert new.strong
    assert [use.version_id for use in one.cell(read)[1]] == [new.version_id]


def test_a_removed_file_is_a_deletion_and_its_return_is_from_outside(
    notebook: Callable[[], Notebook],
) -> None:
    one = notebook()
    one.cell(write)
    (gone,), _ = one.cell(lambda: Path("a.csv").unlink())
    assert (gone.deleted, gone.digest) == (True, None)
    Path("a.csv").write_text("b\n1\n")
    (back,), _ = one.cell(read)
    assert back.reason == "made outside of what was recorded"
    Path("nobody").write_text("x")
    assert one.cell(lambda: Path("nobody").unlink()) == ((), ())


def test_a_file_too_big_for_the_budget_is_linked_without_comparing(
    notebook: Callable[[], Notebook], monkeypatch: pytest.MonkeyPatch
) -> None:
    def big() -> None:
        Path("big").write_bytes(os.urandom(5_000_000))

    monkeypatch.setattr("mlops_jupyter.capture._file_touches.CELL_BYTES", 0)
    monkeypatch.setattr("mlops_jupyter.capture.files.MIN_SECONDS", 60.0)
    (written,), _ = notebook().cell(big)
    assert written.grade is Grade.EXACT
    monkeypatch.setattr("mlops_jupyter.capture.files.MIN_SECONDS", 0.0)
    versions, (use,) = notebook().cell(lambda: Path("big").read_bytes())
    assert versions == ()
    assert (use.version_id, use.grade) == (written.version_id, Grade.ASSUMED)
    assert "not compared" in use.reason
    later = time.time() + 60
    os.utime("big", (later, later))
    (changed,), (use,) = notebook().cell(lambda: Path("big").read_bytes())
    assert (changed.grade, use.grade) == (Grade.SAMPLED, Grade.SAMPLED)
    assert str(changed.digest).startswith("sha256-sampled:")
