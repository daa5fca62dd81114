"""The shared part of the exchange, on whatever fsspec speaks to. Imported only where a URL is set."""

from __future__ import annotations

import hashlib
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec

from mlops_jupyter.entities import Digest
from mlops_jupyter.errors import MlopsError, UnreachableError, UsageError

_CHUNK = 1024 * 1024
_ATOMIC_PUT = frozenset(
    {"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "cos", "http", "https"}
)
"""Stores where an object appears whole or not at all; elsewhere we write under another name and rename."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Objects under ``root`` of one file system."""

    filesystem: Any
    """fsspec is untyped."""
    root: str
    shown: str
    """The URL without credentials."""

    def size(self, digest: Digest) -> int | None:
        """Bytes of the object there, or None."""
        with self._translated("read"):
            try:
                return int(self.filesystem.info(self._place(digest))["size"])
            except FileNotFoundError:
                return None

    def fetch(self, digest: Digest, target: IO[bytes]) -> Digest:
        """Stream the object into ``target``; the digest of what came."""
        hasher = hashlib.sha256()
        with self._translated("read"), self.filesystem.open(self._place(digest), "rb") as source:
            while chunk := source.read(_CHUNK):
                hasher.update(chunk)
                target.write(chunk)
        return Digest(f"sha256:{hasher.hexdigest()}")

    def send(self, digest: Digest, source: Path) -> None:
        """Bring a local file there, whole or not at all."""
        with self._translated("written"):
            self._put(source, self._place(digest))

    def write(self, name: str, content: bytes) -> None:
        """Write a small document under a name of its own, whole or not at all; replaces an earlier one."""
        place = f"{self.root}/{name}"
        with self._translated("written"), tempfile.TemporaryDirectory(prefix="mlops-") as folder:
            source = Path(folder) / "document"
            source.write_bytes(content)
            self._put(source, place)

    def read(self, name: str) -> bytes | None:
        """The document under that name, or None where there is none."""
        with self._translated("read"):
            self.filesystem.invalidate_cache()
            try:
                return bytes(self.filesystem.cat_file(f"{self.root}/{name}"))
            except FileNotFoundError:
                return None

    def probe(self) -> float:
        """Write, read and remove a small object; seconds that took."""
        began = time.perf_counter()
        place = f"{self.root}/incoming/preflight-{secrets.token_hex(8)}"
        with self._translated("written"):
            self.filesystem.makedirs(f"{self.root}/incoming", exist_ok=True)
            self.filesystem.pipe_file(place, b"preflight")
            try:
                if self.filesystem.cat_file(place) != b"preflight":
                    raise UnreachableError(f"{self.shown} does not give back what was written to it.")
            finally:
                self.filesystem.rm_file(place)
        return time.perf_counter() - began

    def _put(self, source: Path, place: str) -> None:
        parent = place.rsplit("/", 1)[0]
        self.filesystem.makedirs(parent, exist_ok=True)
        protocols = self.filesystem.protocol
        names = {protocols} if isinstance(protocols, str) else set(protocols)
        if names & _ATOMIC_PUT:
            self.filesystem.put_file(str(source), place)
            return
        temporary = f"{self.root}/incoming/{secrets.token_hex(16)}"
        self.filesystem.makedirs(f"{self.root}/incoming", exist_ok=True)
        try:
            self.filesystem.put_file(str(source), temporary)
            self.filesystem.mv(temporary, place)
        except BaseException:
            with suppress(Exception):
                self.filesystem.rm_file(temporary)
            raise

    def _place(self, digest: Digest) -> str:
        return f"{self.root}/sha256/{digest[7:9]}/{digest[9:]}"

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except MlopsError:
            raise
        except Exception as error:
            raise UnreachableError(
                f"The exchange {self.shown} cannot be {verb}: {type(error).__name__}.",
                hint="Check MLOPS_DATA_URL, its credentials and the network; nothing was lost.",
            ) from error


def open_remote(url: str) -> Remote:
    """The file system behind an fsspec URL or a path.

    Raises:
        UsageError: the kind of URL is unknown, or its package is not installed.
        UnreachableError: it cannot be opened.
    """
    shown = re.sub(r"(?<=//)[^/@]*@", "", url.split("?", 1)[0])
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UsageError(f"MLOPS_DATA_URL {shown} needs a package that is not installed: {error}.") from error
    except ValueError as error:
        raise UsageError(
            f"MLOPS_DATA_URL {shown} is not a URL that fsspec knows.",
            hint="Use for example s3://bucket/prefix or a path.",
        ) from error
    except Exception as error:
        raise UnreachableError(f"The exchange {shown} cannot be opened: {type(error).__name__}.") from error
    return Remote(filesystem, str(root).rstrip("/"), shown)
