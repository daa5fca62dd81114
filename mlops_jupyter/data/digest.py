"""Digests of files, remembered by what ``stat`` says, sampled where reading all would take too long.

A digest is remembered under (path, device, inode, size, mtime, ctime). As in git's index, an entry is not
trusted where the file was modified within about a second of being hashed: a second write in the same tick of
the file system's clock would go unseen.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from mlops_jupyter.entities import Digest, Grade

FULL_LIMIT = 256 * 1024 * 1024
"""Bytes: within a cell a larger file is sampled."""

ALWAYS_FULL = 32 * 1024 * 1024
"""Bytes: up to here a cell's file is read through whatever its time limit says, for what a digest is must not depend on
how busy the machine is."""

RACY_NS = 1_000_000_000
"""Nanoseconds between a file's modification and its hashing below which the entry is not trusted."""

PERSIST_FROM = 8 * 1024 * 1024
"""Bytes: digests of files from here on are worth keeping for the next process."""

_PATIENCE = 0.05
"""Seconds of CPU time past its limit after which ``measure`` leaves a file alone: a cell may open thousands."""

_CHUNK = 1024 * 1024
_SAMPLES = 64
_SAMPLE = 64 * 1024
_JOURNAL_LIMIT = 1024 * 1024

_Key = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What a file held: ``sha256:…`` of all bytes, or ``sha256-sampled:…`` of its size and 64 samples.

    ``digest`` is None where not even a sample fitted into the time that was left.
    """

    digest: Digest | None
    size: int
    grade: Grade


class StatCache:
    """Digests of this process by path, bounded; those of big files also in a journal for the next process.

    The journal is a file of JSON lines, each appended with one ``write``, so many processes may share it.
    """

    def __init__(self, journal: Path | None = None, *, limit: int = 10_000) -> None:
        self._journal = journal
        self._limit = limit
        self._known: OrderedDict[str, tuple[_Key, Digest]] = OrderedDict()
        self._loaded = journal is None

    def get(self, path: str, status: os.stat_result) -> Digest | None:
        """The digest of ``path`` where it was hashed in full and is unchanged since."""
        if not self._loaded and status.st_size >= PERSIST_FROM:
            self._load()
        entry = self._known.get(path)
        return entry[1] if entry is not None and entry[0] == _key(status) else None

    def put(self, path: str, status: os.stat_result, digest: Digest, *, hashed_at_ns: int) -> None:
        """Remember a digest of all bytes; ``hashed_at_ns`` is when reading began."""
        if max(status.st_mtime_ns, status.st_ctime_ns) > hashed_at_ns - RACY_NS:
            return
        self._insert(path, _key(status), digest)
        if status.st_size >= PERSIST_FROM:
            self._append(path, _key(status), digest)

    def _insert(self, path: str, key: _Key, digest: Digest) -> None:
        self._known[path] = (key, digest)
        self._known.move_to_end(path)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def _append(self, path: str, key: _Key, digest: Digest) -> None:
        if self._journal is None:
            return
        line = json.dumps([path, key, digest]).encode() + b"\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            if self._journal.exists() and self._journal.stat().st_size > _JOURNAL_LIMIT:
                flags |= os.O_TRUNC  # a cache: forgetting costs one more reading
            handle = os.open(self._journal, flags, 0o600)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)
        except OSError:
            self._journal = None  # read-only or full: the cache of this process is enough

    def _load(self) -> None:
        self._loaded = True
        try:
            lines = self._journal.read_bytes().splitlines() if self._journal is not None else []
        except OSError:
            return
        for line in lines:
            try:
                path, key, digest = json.loads(line)
                self._insert(str(path), (key[0], key[1], key[2], key[3], key[4]), Digest(str(digest)))
            except (ValueError, TypeError, IndexError):
                continue  # a line cut by a crash


_process_cache = StatCache()


def file_digest(path: Path | str, *, cache: StatCache | None = None) -> Digest:
    """``sha256:…`` of all bytes of a regular file, from the cache where its ``stat`` is unchanged.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    found = measure(path, cache=cache, seconds=None, full_limit=None)
    if found.digest is None:  # only a time limit leaves it open
        raise AssertionError("a digest without a time limit")
    return found.digest


def sampled_digest(path: Path | str) -> Digest:
    """``sha256-sampled:…``: what ``measure`` gives for a file that it cannot read through. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return _sampled(handle, os.fstat(handle).st_size)
    finally:
        os.close(handle)


def measure(
    path: Path | str,
    *,
    cache: StatCache | None = None,
    seconds: float | None = None,
    full_limit: int | None = FULL_LIMIT,
    always: int = 0,
) -> FileDigest:
    """Digest of a file within about ``seconds`` of CPU time (None: as long as it takes).

    A file larger than ``full_limit`` bytes (None: none is), or one that cannot be read through in time, is
    sampled: its size and 64 pieces of 64 KiB spread evenly, the first and the last included; files up to 4
    MiB never are. Where the time is over by 0.05 s already, nothing is read. No limit holds for files of up to
    ``always`` bytes. A file that changes under the reading is read once more; what is then found is graded
    ``assumed`` and not remembered.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    cache = _process_cache if cache is None else cache
    name = os.path.abspath(path)  # noqa: PTH100 - called from an audit hook: no Path objects
    # CPU time: on a busy machine the same file must not get another digest.
    deadline = None if seconds is None else time.thread_time() + seconds
    # Unbuffered reading is what a digest needs; O_NONBLOCK keeps a FIFO from blocking.
    handle = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        for _ in range(2):
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{name} is not a regular file")
            known = cache.get(name, status)
            if known is not None:
                return FileDigest(known, status.st_size, Grade.EXACT)
            began = time.time_ns()
            found = _hash(handle, status.st_size, deadline, full_limit, always)
            after = os.fstat(handle)
            if _key(after) == _key(status):
                if found.grade is Grade.EXACT and found.digest is not None:
                    cache.put(name, status, found.digest, hashed_at_ns=began)
                return found
        return FileDigest(found.digest, after.st_size, Grade.ASSUMED)
    finally:
        os.close(handle)


def _hash(handle: int, size: int, deadline: float | None, full_limit: int | None, always: int) -> FileDigest:
    if deadline is not None and size > always and time.thread_time() > deadline + _PATIENCE:
        return FileDigest(None, size, Grade.ASSUMED)
    # A sample of a small file would cost as much as all of it, and compare with less.
    unlimited = size <= max(always, _SAMPLES * _SAMPLE)
    if unlimited or full_limit is None or size <= full_limit:
        hasher = hashlib.sha256()
        os.lseek(handle, 0, os.SEEK_SET)
        total = 0
        while unlimited or deadline is None or time.thread_time() <= deadline:
            chunk = os.read(handle, _CHUNK)
            if not chunk:
                return FileDigest(Digest(f"sha256:{hasher.hexdigest()}"), total, Grade.EXACT)
            hasher.update(chunk)
            total += len(chunk)
    return FileDigest(_sampled(handle, size), size, Grade.SAMPLED)


def _sampled(handle: int, size: int) -> Digest:
    hasher = hashlib.sha256(str(size).encode() + b"\n")
    last = max(size - _SAMPLE, 0)
    for number in range(_SAMPLES):
        os.lseek(handle, last * number // (_SAMPLES - 1), os.SEEK_SET)
        hasher.update(os.read(handle, _SAMPLE))
    return Digest(f"sha256-sampled:{hasher.hexdigest()}")


def _key(status: os.stat_result) -> _Key:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
