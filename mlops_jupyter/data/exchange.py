"""The exchange: bytes under the key ``sha256:…``, in the workspace first, in ``MLOPS_DATA_URL`` for others.

An object appears under its key complete or not at all: it is written under a temporary name, flushed to the
disk and renamed. So many processes may put the same bytes at once, and a process that is killed leaves at
most a temporary file, which a later ``preflight`` removes. fsspec is imported only where a URL is set and
needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import Digest
from mlops_jupyter.errors import (
    CorruptObjectError,
    MlopsError,
    TargetNotFoundError,
    TransientError,
    UsageError,
)

from .digest import file_digest, sampled_digest

if TYPE_CHECKING:
    from .remote import Remote

_KEY = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK = 1024 * 1024
_STALE = 24 * 3600.0
"""Seconds after which a temporary file belongs to nobody any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """That the exchange works: where it is and how long a round trip of one small object took, in seconds."""

    local: Path
    remote: str | None
    """URL without credentials, or None where the exchange is local only."""
    local_seconds: float
    remote_seconds: float | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Content-addressed storage. Every method is safe for many processes and threads at once."""

    folder: Path
    """The local part."""
    url: str | None = None
    """fsspec URL or path of the shared part, or None."""

    def put_bytes(self, content: bytes, *, durable: bool = True) -> Digest:
        """Keep ``content``; its key. What is there already is not written again.

        ``durable``: flushed to the disk, so it survives a power cut. A kernel does without: its records are written
        alike, a torn object is found out by its digest, and a cell must not wait for a disk.

        Raises:
            TransientError: full disk, folder that cannot be written.
        """
        digest = _digest(hashlib.sha256(content).hexdigest())
        target = self._place(digest)
        if _size(target) == len(content):
            _touch(target)
        else:
            with self._new_object() as (temporary, stream):
                stream.write(content)
                self._publish(temporary, stream, target, durable=durable)
        return digest

    def put_file(self, path: Path | str) -> Digest:
        """Keep a copy of a file; its key. Streams; never links, because the user may write to the file later.

        The key is that of the bytes that were copied, even where the file changes meanwhile.

        Raises:
            TargetNotFoundError: no such file.
            TransientError: full disk, folder that cannot be written.
        """
        source = Path(path)
        try:
            original = source.open("rb")
        except (FileNotFoundError, IsADirectoryError) as error:
            raise TargetNotFoundError(f"There is no file {source}.") from error
        with original:
            if os.fstat(original.fileno()).st_size > _CHUNK:
                # Reading is cheaper than writing: what is there already is not copied.
                known = file_digest(source)
                if _size(self._place(known)) == os.fstat(original.fileno()).st_size:
                    _touch(self._place(known))
                    return known
            with self._new_object() as (temporary, stream):
                digest = _copy(original, stream)
                target = self._place(digest)
                if _size(target) == stream.tell():
                    _touch(target)
                else:
                    self._publish(temporary, stream, target)
        return digest

    def keep(self, path: Path | str, digest: Digest) -> Digest | None:
        """Keep a copy of a file where its bytes are still those of ``digest``; its key, or None where they are not.

        ``digest`` may be ``sha256-sampled:…`` (see ``digest.measure``); the key is always that of all bytes. Not
        flushed to the disk, and readable for nobody who may not read the file itself. What is there already is
        not read again.

        Raises:
            OSError: the file cannot be read.
            TransientError: full disk, folder that cannot be written.
        """
        full = _KEY.fullmatch(digest) is not None
        if full and self._place(digest).is_file():
            _touch(self._place(digest))
            return digest
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as original, self._new_object() as (temporary, stream):
            found = _copy(original, stream)
            stream.flush()
            if (found if full else sampled_digest(temporary)) != digest:
                return None
            mode = os.fstat(original.fileno()).st_mode & 0o444
            self._publish(temporary, stream, self._place(found), durable=False, mode=mode | 0o400)
        return found

    def contains(self, digest: Digest, *, local_only: bool = False) -> bool:
        """Whether the object is here or, unless ``local_only``, in the shared part.

        Raises:
            UsageError: not a key of the exchange.
            UnreachableError: the shared part cannot be asked.
        """
        if self._place(digest).is_file():
            return True
        remote = None if local_only else self._remote()
        return remote is not None and remote.size(digest) is not None

    def get(self, digest: Digest) -> bytes:
        """The object's bytes, verified. Raises as ``path``."""
        content = self.path(digest, verify=False).read_bytes()
        if _digest(hashlib.sha256(content).hexdigest()) == digest:
            return content
        self.path(digest)  # quarantines what is here and fetches it again, or raises
        return self.get(digest)

    def path(self, digest: Digest, *, verify: bool = True) -> Path:
        """A read-only local file that holds the object, fetched from the shared part where it is only there.

        Raises:
            UsageError: not a key of the exchange.
            TargetNotFoundError: the object is in neither part.
            CorruptObjectError: the bytes are not those of the key, here or on arrival.
            UnreachableError: the shared part is needed and cannot be reached.
            TransientError: full disk, folder that cannot be written.
        """
        target = self._place(digest)
        corrupt: Path | None = None
        if target.is_file():
            if not verify or file_digest(target) == digest:
                return target
            corrupt = self._quarantine(target)
        remote = self._remote()
        if remote is not None and remote.size(digest) is not None:
            with self._new_object() as (temporary, stream):
                found = remote.fetch(digest, stream)
                if found != digest:
                    raise CorruptObjectError(
                        f"The object {digest} in {remote.shown} holds other bytes ({found}).",
                        hint="Delete it there and push it again from a machine that has it.",
                    )
                self._publish(temporary, stream, target)
            return target
        if corrupt is not None:
            raise CorruptObjectError(
                f"The object {digest} was damaged on the disk.",
                hint=f"What is left of it was moved to {corrupt}; put the same bytes again to mend it.",
            )
        raise TargetNotFoundError(
            f"The exchange has no object {digest}.",
            hint="Set MLOPS_DATA_URL if it was pushed from elsewhere." if self.url is None else "",
        )

    def push(self, digests: Iterable[Digest]) -> int:
        """Bring objects to the shared part; how many were sent. Does nothing where there is none.

        Each object is verified before it is sent; what is there already is not sent again.
        Raises as ``path``, and ``UnreachableError`` where the shared part cannot be written.
        """
        remote = self._remote()
        if remote is None:
            return 0
        sent = 0
        for digest in dict.fromkeys(digests):
            place = self._place(digest)
            there = remote.size(digest)
            if there is not None and there == (_size(place) if place.is_file() else there):
                continue
            remote.send(digest, self.path(digest))
            sent += 1
        return sent

    def preflight(self) -> Preflight:
        """Write, read and remove a small object in both parts; removes temporary files older than a day.

        Raises:
            TransientError: the local part cannot be written.
            UnreachableError: the shared part cannot be written or read.
            UsageError: the URL is of a kind that is not installed.
        """
        self._sweep()
        began = time.perf_counter()
        with self._new_object() as (_, stream):
            stream.write(b"preflight")
            _flush(stream)
        local_seconds = time.perf_counter() - began
        remote = self._remote()
        return Preflight(
            local=self.folder,
            remote=None if remote is None else remote.shown,
            local_seconds=local_seconds,
            remote_seconds=None if remote is None else remote.probe(),
        )

    def _place(self, digest: Digest) -> Path:
        if not isinstance(digest, str) or not _KEY.fullmatch(digest):
            raise UsageError(f"{digest!r} is not a key of the exchange.", hint="Keys look like sha256:9f86d081….")
        return self.folder / "sha256" / digest[7:9] / digest[9:]

    def _remote(self) -> Remote | None:
        if self.url is None:
            return None
        from .remote import open_remote  # here, because it imports fsspec

        return open_remote(self.url)

    @contextmanager
    def _new_object(self) -> Iterator[tuple[Path, IO[bytes]]]:
        temporary = self.folder / "tmp" / f"{os.getpid()}-{secrets.token_hex(8)}"
        with self._translated():
            temporary.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as stream:
                    yield temporary, stream
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()

    def _publish(
        self, temporary: Path, stream: IO[bytes], target: Path, *, durable: bool = True, mode: int = 0o444
    ) -> None:
        if durable:
            _flush(stream)
        else:
            stream.flush()
        temporary.chmod(mode)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, MlopsError):
                raise
            raise TransientError(
                f"The exchange {self.folder} cannot be written: {error.strerror or error}.",
                hint="Free some space or make the folder writable, then try again.",
            ) from error

    def _quarantine(self, target: Path) -> Path:
        aside = self.folder / "corrupt" / f"{target.parent.name}{target.name}"
        with self._translated():
            aside.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another process was faster
                target.replace(aside)
        return aside

    def _sweep(self) -> None:
        folder = self.folder / "tmp"
        if not folder.is_dir():
            return
        for leftover in folder.iterdir():
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _STALE:
                    leftover.unlink()


def open_exchange(settings: Settings) -> Exchange:
    """The exchange of a workspace. Creates and imports nothing until it is used."""
    url = settings.data_url
    if url is not None and "://" not in url and "::" not in url:
        url = str((settings.root / Path(url).expanduser()).absolute())
    return Exchange(settings.cache, url)


def _copy(source: IO[bytes], target: IO[bytes]) -> Digest:
    hasher = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        hasher.update(chunk)
        target.write(chunk)
    return _digest(hasher.hexdigest())


def _flush(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _touch(path: Path) -> None:
    """Make an object young again: garbage collection spares it until the record that names it is written."""
    with suppress(OSError):
        os.utime(path)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _digest(hexdigest: str) -> Digest:
    return Digest(f"sha256:{hexdigest}")
