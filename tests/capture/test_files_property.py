"""Any sequence of file operations, cut into cells anywhere, against a model of what the files hold."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_jupyter.capture.files import FileTracker

NAMES = st.sampled_from(["a", "b", "c"])
CONTENT = st.binary(min_size=1, max_size=3)
Operation = tuple[str, str, str, bytes]
OPERATIONS = st.tuples(
    st.sampled_from(["write", "append", "patch", "read", "rename", "copy", "remove", "touch"]),
    NAMES,
    NAMES,
    CONTENT,
)


def write(one: Path, _other: Path, content: bytes) -> None:
    one.write_bytes(content)


def append(one: Path, _other: Path, content: bytes) -> None:
    with one.open("ab") as stream:
        stream.write(content)


def patch(one: Path, _other: Path, content: bytes) -> None:
    with one.open("r+b") as stream:
        stream.write(content)


def read(one: Path, _other: Path, _content: bytes) -> None:
    one.read_bytes()


def rename(one: Path, other: Path, _content: bytes) -> None:
    one.replace(other)


def copy(one: Path, other: Path, _content: bytes) -> None:
    if one != other:
        shutil.copyfile(one, other)


def remove(one: Path, _other: Path, _content: bytes) -> None:
    one.unlink()


def touch(one: Path, _other: Path, _content: bytes) -> None:
    with one.open("ab"):
        pass


DO: dict[str, Callable[[Path, Path, bytes], None]] = {
    "write": write, "append": append, "patch": patch, "read": read, "rename": rename, "copy": copy,
    "remove": remove, "touch": touch,
}  # fmt: skip


def held(folder: Path) -> dict[str, str]:
    return {path.name: "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@given(st.lists(st.lists(OPERATIONS, max_size=6), max_size=4))
@settings(max_examples=150, deadline=None)
def test_records_agree_with_what_the_files_held(
    tmp_path_factory: pytest.TempPathFactory, cells: Sequence[Sequence[Operation]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "property"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tracker = FileTracker(folder, "session")
    tracker.install()
    try:
        for cell in cells:
            before = held(folder)
            read_first: set[str] = set()
            changed: set[str] = set()
            tracker.begin()
            for kind, one, other, content in cell:
                source = folder / one
                if kind == "read" and source.exists() and one not in changed:
                    read_first.add(one)
                try:
                    DO[kind](source, folder / other, content)
                except FileNotFoundError:
                    continue
                if kind != "read":
                    changed |= {one, other}
            access = tracker.end()
            after = held(folder)
            reads = {record.key: record.digest for record in access.reads}
            written = {record.key: record.digest for record in access.writes if not record.deleted}
            deleted = {record.key for record in access.writes if record.deleted}
            assert tracker.faults == []
            assert len(reads) == len(access.reads)
            assert reads.items() <= before.items()
            assert read_first <= reads.keys()
            assert written.items() <= after.items()
            assert {name for name in after if after[name] != before.get(name)} <= written.keys()
            assert deleted == before.keys() - after.keys()
            for record in access.writes:
                if record.before is not None:
                    assert record.before.digest == before[os.path.basename(record.key)]
    finally:
        tracker.uninstall()
