"""The files that a recorded run read: which bytes they had, and where those bytes are now."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlops_jupyter.data.digest import file_digest, sampled_digest
from mlops_jupyter.data.exchange import Exchange
from mlops_jupyter.entities import Digest, EntityVersion, Grade
from mlops_jupyter.errors import MlopsError, UsageError
from mlops_jupyter.store import Connection
from mlops_jupyter.store.snapshots import Snapshot, SnapshotState, find_object

from .recorded_run import RecordedRun
from .scratch import Scratch

State = Literal["unchanged", "snapshot", "changed", "missing", "unknown", "package", "remote"]
"""``unchanged``: the file is as it was; ``snapshot``: it is not, and a copy from the exchange is used; ``changed``: it
is not, and there is no copy; ``unknown``: its digest was not recorded; ``package``: an installed distribution brings
it; ``remote``: from a URL."""

_WHY = {
    SnapshotState.CHANGED: "it changed before it could be copied",
    SnapshotState.TOO_LARGE: "it was larger than snapshot_limit",
    SnapshotState.NO_ROOM: "the copies would have passed snapshot_total",
    SnapshotState.UNREADABLE: "it could not be copied",
    SnapshotState.OFF: "snapshots were off",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One file that the run read."""

    name: str
    recorded: Digest | None
    current: Digest | None
    """Of the file in the workspace now; None where there is none."""
    state: State
    reason: str = ""
    object: Digest | None = None
    """Key in the exchange of the copy that is used."""
    used: Digest | None = None
    """What the replay read, as it recorded it."""

    def read_as(self, digests: Sequence[Digest]) -> Input:
        """The same, with what the replay read: of several contents one that is not the recorded."""
        other = next((d for d in digests if d != self.recorded), None)
        return replace(self, used=other or next(iter(digests), None))

    @property
    def as_recorded(self) -> bool:
        """Whether the replay read what the run read, as far as that is known."""
        if self.used is not None and self.recorded is not None and _kind(self.used) == _kind(self.recorded):
            return self.used == self.recorded
        return self.state in ("unchanged", "snapshot", "package")


def find_inputs(recorded: RecordedRun, *, store: Connection, exchange: Exchange, root: Path) -> tuple[Input, ...]:
    """Where the bytes of each input are.

    Raises:
        UsageError: a file is gone and no copy was kept.
    """
    kept = {(s.name, s.digest): s for s in recorded.snapshots if s.module is None}
    found = tuple(_find(v, store=store, exchange=exchange, root=root, kept=kept) for v in recorded.inputs)
    grades = {v.name: v.grade for v in recorded.inputs}
    for item in found:
        if item.state == "missing" and grades[item.name] in (Grade.EXACT, Grade.SAMPLED):
            raise UsageError(
                f"{item.name} is not there any more, and no copy of it was kept{_because(item.reason)}.",
                hint="Put the file back, then try again.",
            )
    return found


def _find(
    version: EntityVersion,
    *,
    store: Connection,
    exchange: Exchange,
    root: Path,
    kept: Mapping[tuple[str, Digest], Snapshot],
) -> Input:
    name, recorded = version.name, version.digest
    if "://" in name:
        return Input(name=name, recorded=recorded, current=None, state="remote")
    if name.startswith("package:"):
        return Input(name=name, recorded=recorded, current=None, state="package")
    current = digest_like(root / name, recorded)
    if current is not None and current == recorded:
        return Input(name=name, recorded=recorded, current=current, state="unchanged")
    if recorded is None:
        there = (root / name).exists()
        return Input(name=name, recorded=None, current=current, state="unknown" if there else "missing")
    copy = find_object(store, name, recorded) or recorded
    if copy.startswith("sha256:"):
        with contextlib.suppress(MlopsError):
            exchange.path(copy)  # verified, and fetched where it is elsewhere
            return Input(name=name, recorded=recorded, current=current, state="snapshot", object=copy)
    snapshot = kept.get((name, recorded))
    reason = "" if snapshot is None else _WHY.get(snapshot.state, "the copy is gone from the exchange")
    state: State = "missing" if current is None else "changed"
    return Input(name=name, recorded=recorded, current=current, state=state, reason=reason)


def digest_like(path: Path, like: Digest | None) -> Digest | None:
    """Digest of a file, of the kind that ``like`` has; None where it cannot be read."""
    try:
        return sampled_digest(path) if like is not None and _kind(like) == "sha256-sampled" else file_digest(path)
    except (OSError, ValueError):
        return None


def place(inputs: Iterable[Input], recorded: RecordedRun, scratch: Scratch, exchange: Exchange) -> None:
    """Put what is only in the exchange where the replay looks for it: data, modules and scripts."""
    for item in inputs:
        if item.state == "snapshot" and item.object is not None:
            _put(exchange.path(item.object), scratch.mirror(_absolute(scratch, item.name)))
    for code in recorded.snapshots:
        if code.module is not None and code.object is not None:
            with contextlib.suppress(MlopsError):  # the file of today is there already; the difference is told
                _put(exchange.path(code.object), scratch.mirror(_absolute(scratch, code.name)))


def _absolute(scratch: Scratch, name: str) -> Path:
    return Path(os.path.normpath(scratch.original / name))


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # it may be a link to the user's own
    shutil.copyfile(source, target)
    target.chmod(0o600)


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _kind(digest: Digest) -> str:
    return digest.partition(":")[0]
