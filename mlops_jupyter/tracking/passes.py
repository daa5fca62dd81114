"""One pass of a delivery: everything that the store has and MLflow lacks, in an order that makes sense there.

A cursor moves only after the effect, and every effect is idempotent: whatever is interrupted is done again. A
run is made before what belongs to it, and ends after it, so that a finished run in MLflow is complete.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from mlops_jupyter.errors import TransientError
from mlops_jupyter.store import Connection, outbox

from . import files, models, runs
from .failures import Failure, classify, disk_full, first_line, no_room, target_error
from .faults import fault_point
from .link import Link, answers
from .names import is_shortened
from .target import mlflow_environment

Send = Callable[[Link, str, Sequence[outbox.Item]], None]
Progress = Callable[[str, int], None]
"""Called with a kind of thing and how many of it were just delivered."""

MAX_ATTEMPTS = 3
"""Failures of one item, while MLflow answers, after which it is set aside."""
MAX_REVIVALS = 10
"""Attempts after which something set aside is left to a person."""
_CHUNK = 1000
_BATCH = {"params": 100, "metrics": 1000, "datasets": 100}

_log = logging.getLogger(__name__)


def latest_rows(store: Connection) -> dict[str, int]:
    """Position of the newest row of each stream."""
    newest: dict[str, int] = {}
    for stream in outbox.STREAMS:
        ((position,),) = store.execute(f"SELECT MAX(seq) FROM {stream}")
        newest[stream] = int(position or 0)
    return newest


class Pass:
    """State of one pass: what was delivered, and how often an item failed.

    ``attempts`` outlives a pass, so that an item which always fails is set aside after some passes.
    """

    def __init__(self, link: Link, attempts: Counter[tuple[str, int]], progress: Progress | None = None) -> None:
        self.link = link
        self.delivered: Counter[str] = Counter()
        self._attempts = attempts
        self._progress = progress
        self._refused: list[tuple[outbox.Item, str]] = []
        self._goal: dict[str, int] = {}

    def run(self) -> Counter[str]:
        """Deliver all that is pending now; counts by kind.

        Raises:
            UnreachableError: MLflow does not answer, refuses the credentials, or fails as a whole.
            TransientError: something that may be gone at the next pass.
        """
        # A loop that logs faster than MLflow takes it must not keep a pass from ever ending.
        self._goal = latest_rows(self.link.store)
        with mlflow_environment():
            while events := outbox.pending(self.link.store, self.link.target.key, "run_events", _CHUNK):
                self._begin_runs(events)
                self._deliver_streams()
                self._end_runs(events)
                self._advance("run_events", events[-1].position)
            self._deliver_streams()
        return self.delivered

    def retry_dead_letters(self) -> None:
        """Give what was set aside one more chance: the missing file may be back, the name free."""
        store, key = self.link.store, self.link.target.key
        with mlflow_environment():
            for letter in outbox.dead_letters(store, key):
                if letter.attempts >= MAX_REVIVALS:
                    continue
                item = outbox.dead_item(store, letter)
                if item is None:
                    outbox.revive(store, letter)
                    continue
                self._refused.clear()
                self._deliver(letter.stream, [item])
                if self._refused:
                    with store.transaction():
                        outbox.bury(store, key, *self._refused.pop())
                else:
                    outbox.revive(store, letter)

    def _begin_runs(self, events: Sequence[outbox.Item]) -> None:
        started = [event for event in events if event.data["kind"] == "started"]
        self._each(started, "runs", _run_alone)
        tags = [event for event in events if event.data["kind"] == "tag"]
        self._grouped(tags, "tags", runs.send_tags, 100)
        self._long_values(tags)

    def _end_runs(self, events: Sequence[outbox.Item]) -> None:
        notes = {e.run_uid: e for e in events if e.data["kind"] == "note"}
        self._each(list(notes.values()), "notes", runs.send_note)
        self._each([e for e in events if e.data["kind"] == "ended"], "ended", runs.send_end)
        self._each([e for e in events if e.data["kind"] == "deleted"], "deleted", runs.send_deletion)

    def _deliver_streams(self) -> None:
        for stream in outbox.STREAMS:
            if stream == "run_events":
                continue
            while items := self._pending(stream):
                self._deliver(stream, items)
                self._advance(stream, items[-1].position)

    def _pending(self, stream: str) -> list[outbox.Item]:
        items = outbox.pending(self.link.store, self.link.target.key, stream, _CHUNK)
        return [item for item in items if item.position <= self._goal.get(stream, 0)]

    def _deliver(self, stream: str, items: Sequence[outbox.Item]) -> None:
        if stream == "run_events":
            self._begin_runs(items)
            self._end_runs(items)
        elif stream == "executions":
            latest = {item.run_uid: item for item in items if item.run_uid is not None}
            self._each(list(latest.values()), "executions", _send_executions)
        elif stream in _SINGLE:
            self._each(items, stream, _SINGLE[stream])
        else:
            self._grouped(items, stream, _GROUPED[stream], _BATCH[stream])
            self._long_values(items)

    def _long_values(self, items: Sequence[outbox.Item]) -> None:
        long = {item.run_uid: item for item in items if _does_not_fit(item)}
        self._each(list(long.values()), "full_values", _send_long_values)

    def _each(self, items: Sequence[outbox.Item], kind: str, send: Send) -> None:
        for item in items:
            self._attempt([item], kind, send)

    def _grouped(self, items: Sequence[outbox.Item], kind: str, send: Send, size: int) -> None:
        by_run: dict[str, list[outbox.Item]] = {}
        for item in items:
            by_run.setdefault(str(item.run_uid), []).append(item)
        for rows in by_run.values():
            for start in range(0, len(rows), size):
                self._attempt(rows[start : start + size], kind, send)

    def _attempt(self, rows: Sequence[outbox.Item], kind: str, send: Send) -> None:
        """Send rows of one run; where they are refused halve them, down to the one that is at fault."""
        try:
            send(self.link, runs.mlflow_run(self.link, str(rows[0].run_uid)), rows)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 what it means is decided by class
            self._failed(rows, kind, send, error)
        else:
            self._count(kind, len(rows))

    def _failed(self, rows: Sequence[outbox.Item], kind: str, send: Send, error: Exception) -> None:
        if disk_full(error):
            raise no_room(self.link.target.key) from error
        failure = classify(error)
        if failure is Failure.UNREACHABLE or (failure is not Failure.REFUSED and not answers(self.link)):
            raise target_error(error, self.link.target.key) from error
        gone = runs.gone(self.link, str(rows[0].run_uid)) if failure is Failure.REFUSED else None
        if gone is not None:
            if not runs.is_deleted(self.link, str(rows[0].run_uid)):
                self._refused += [(row, gone) for row in rows]
            return  # deleted here as well: MLflow need not have the rest of it
        if len(rows) > 1:
            middle = len(rows) // 2
            self._attempt(rows[:middle], kind, send)
            self._attempt(rows[middle:], kind, send)
            return
        item = rows[0]
        if failure is not Failure.REFUSED:
            key = (item.stream, item.position)
            self._attempts[key] += 1
            if self._attempts[key] < MAX_ATTEMPTS:
                raise ItemTroubleError(
                    f"{_named(item)} could not be delivered yet: {first_line(error)}.",
                    hint="It is tried again.",
                ) from error
        _log.warning("%s is set aside: %s", _named(item), first_line(error), exc_info=error)
        self._refused.append((item, first_line(error)))

    def _count(self, kind: str, number: int) -> None:
        self.delivered[kind] += number
        if self._progress is not None:
            self._progress(kind, number)

    def _advance(self, stream: str, position: int) -> None:
        store, key = self.link.store, self.link.target.key
        with store.transaction():
            for item, reason in self._refused:
                outbox.bury(store, key, item, reason)
            outbox.advance(store, key, stream, position)
        self._refused.clear()
        fault_point("cursor_advanced")


class ItemTroubleError(TransientError):
    """One record could not be delivered yet; after some attempts it is set aside, so trying again comes to an end."""


def _named(item: outbox.Item) -> str:
    what = next((item.data[name] for name in ("key", "path", "name", "kind") if name in item.data), item.position)
    return f"{item.stream} {str(what)[:100]!r} of run {str(item.run_uid)[:8]}"


def _does_not_fit(item: outbox.Item) -> bool:
    named = item.data.get("payload", item.data)
    if "key" not in named:
        return False
    limit = runs.TAG_LIMIT if item.stream == "run_events" else runs.PARAM_LIMIT
    return is_shortened(named["key"]) or len(str(named["value"])) > limit


def _run_alone(_link: Link, _run_id: str, _rows: Sequence[outbox.Item]) -> None:
    """Nothing besides the run itself, which is made on the way here."""


def _single(send: Callable[[Link, str, outbox.Item], None]) -> Send:
    return lambda link, run_id, rows: send(link, run_id, rows[0])


def _send_executions(link: Link, run_id: str, rows: Sequence[outbox.Item]) -> None:
    files.send_executions(link, run_id, str(rows[0].run_uid))


def _send_long_values(link: Link, run_id: str, rows: Sequence[outbox.Item]) -> None:
    files.send_long_values(link, run_id, str(rows[0].run_uid))


_SINGLE: dict[str, Send] = {"artifacts": _single(files.send_artifact), "models": _single(models.send_model)}
_GROUPED: dict[str, Send] = {
    "params": runs.send_params,
    "metrics": runs.send_metrics,
    "datasets": files.send_datasets,
}
__all__ = ["MAX_ATTEMPTS", "ItemTroubleError", "Pass", "Progress", "latest_rows"]
