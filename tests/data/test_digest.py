"""Digests of real files, the stat cache and its guard."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_jupyter.data import StatCache, file_digest, measure
from mlops_jupyter.data.digest import ALWAYS_FULL, PERSIST_FROM
from mlops_jupyter.entities import Grade


def age(path: Path, seconds: float = 60.0) -> None:
    """Wait for nothing: pretend that hashing happens later than the racy second."""
    stamp = time.time() - seconds
    os.utime(path, (stamp, stamp))


@given(st.binary(max_size=3000))
@settings(max_examples=50, deadline=None)
def test_a_digest_is_the_sha256_of_the_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "digest.bin"
    path.write_bytes(content)
    assert file_digest(path) == "sha256:" + hashlib.sha256(content).hexdigest()


def test_a_second_write_in_the_same_tick_is_seen(tmp_path: Path) -> None:
    path, cache = tmp_path / "a", StatCache()
    path.write_bytes(b"one")
    status = path.stat()
    first = file_digest(path, cache=cache)
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, inode, mtime
    assert file_digest(path, cache=cache) != first


def test_only_an_old_enough_file_is_remembered(tmp_path: Path) -> None:
    path, cache = tmp_path / "a", StatCache()
    path.write_bytes(b"one")
    status, digest = path.stat(), file_digest(path)
    cache.put(str(path), status, digest, hashed_at_ns=status.st_ctime_ns + 500_000_000)
    assert cache.get(str(path), status) is None
    cache.put(str(path), status, digest, hashed_at_ns=status.st_ctime_ns + 2_000_000_000)
    assert cache.get(str(path), status) == digest
    path.write_bytes(b"other")
    assert cache.get(str(path), path.stat()) is None


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    cache = StatCache(limit=3)
    status = tmp_path.stat()
    for number in range(10):
        cache.put(str(number), status, file_digest(__file__), hashed_at_ns=status.st_ctime_ns + 2_000_000_000)
    assert [number for number in range(10) if cache.get(str(number), status)] == [7, 8, 9]


def test_digests_of_big_files_outlive_the_process_and_a_torn_line(tmp_path: Path) -> None:
    path, journal = tmp_path / "big", tmp_path / "digests.jsonl"
    path.write_bytes(bytes(PERSIST_FROM))
    status, digest = path.stat(), file_digest(path)
    StatCache(journal).put(str(path), status, digest, hashed_at_ns=status.st_ctime_ns + 2_000_000_000)
    with journal.open("a") as stream:
        stream.write('["/half", [1, 2')
    assert StatCache(journal).get(str(path), status) == digest


def test_an_unwritable_journal_is_done_without(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(PERSIST_FROM))
    status, digest = path.stat(), file_digest(path)
    cache = StatCache(tmp_path / "absent" / "digests.jsonl")
    cache.put(str(path), status, digest, hashed_at_ns=status.st_ctime_ns + 2_000_000_000)
    assert cache.get(str(path), status) == digest


def test_a_file_over_the_limit_is_sampled_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(5_000_000))
    whole, sampled = measure(path), measure(path, full_limit=1_000_000)
    assert (whole.grade, sampled.grade) == (Grade.EXACT, Grade.SAMPLED)
    assert sampled.digest is not None
    assert sampled.digest.startswith("sha256-sampled:")
    assert sampled == measure(path, full_limit=1_000_000, seconds=1.0)
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"!")
    assert measure(path, full_limit=1_000_000) != sampled


def test_no_time_left_means_a_sample_of_a_big_file_and_all_of_a_small_one(tmp_path: Path) -> None:
    small, big = tmp_path / "small", tmp_path / "big"
    small.write_bytes(b"a,b\n1,2\n")
    big.write_bytes(bytes(6_000_000))
    assert measure(small, seconds=0.0).grade is Grade.EXACT
    assert measure(big, seconds=0.0).grade is Grade.SAMPLED


def test_a_file_of_ordinary_size_is_read_through_however_little_time_is_left(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(ALWAYS_FULL))
    assert measure(path, seconds=-9.0, always=ALWAYS_FULL).digest == file_digest(path)
    assert measure(path, seconds=-9.0, always=ALWAYS_FULL - 1, cache=StatCache()).digest is None


def test_folders_pipes_and_absent_files_raise(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for bad in (tmp_path, tmp_path / "absent", tmp_path / "pipe"):
        with pytest.raises(OSError):
            file_digest(bad)
