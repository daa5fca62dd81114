"""Locks between processes that vanish with their holder."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlops_jupyter.errors import TransientError
from mlops_jupyter.store import FileLock, is_held

_HOLDER = """
import subprocess, sys
from pathlib import Path
from mlops_jupyter.store import FileLock
assert FileLock(Path(sys.argv[1])).acquire()
worker = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print(worker.pid, flush=True)
sys.stdin.read()
"""


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.lock"
    lock, other = FileLock(path), FileLock(path)
    assert not is_held(path)
    assert lock.acquire()
    assert is_held(path)
    assert not other.acquire(timeout=0.03)
    lock.release()
    lock.release()
    assert not is_held(path)
    with other:
        assert is_held(path)
    assert not is_held(path)


def test_a_killed_holder_is_seen_as_gone_although_its_worker_lives(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    assert is_held(path)
    assert not FileLock(path).acquire()
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=10)
    assert not is_held(path)
    assert FileLock(path).acquire()
    FileLock(path).release()


def _in_child(path: Path, results: multiprocessing.SimpleQueue[tuple[bool, bool]]) -> None:
    results.put((is_held(path), FileLock(path).acquire()))


def test_a_forked_child_does_not_have_its_parents_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = FileLock(path)
    assert lock.acquire()
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(path, results))
    child.start()
    assert results.get() == (True, False)
    child.join()
    assert is_held(path)
    lock.release()


def test_one_thread_waits_for_another(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    lock = FileLock(path)
    assert lock.acquire()
    timer = threading.Timer(0.05, lock.release)
    timer.start()
    with FileLock(path):
        pass
    timer.join()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TransientError, match="cannot be opened"):
        FileLock(tmp_path / "file" / "x.lock").acquire()
    assert not is_held(tmp_path / "missing.lock")
