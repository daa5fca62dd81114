"""Delivering what there is: here, or by waiting for the process that is at it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import RunUid
from mlops_jupyter.errors import MlopsError, RunTimeoutError, TransientError, UnreachableError
from mlops_jupyter.store import Connection, FileLock, open_workspace_store, outbox
from mlops_jupyter.store.delivery_process import delivery_lock

from .failures import first_line
from .link import Link, open_link
from .passes import ItemTroubleError, Pass, Progress, latest_rows
from .reaper import living_sessions, reap
from .report import SyncReport, read_status, wake_path, write_status
from .target import Target, mlflow_environment, target_of

IDLE_TIME = 30.0
"""Seconds without a living session or anything new after which a watching delivery ends."""
GIVE_UP_TIME = 600.0
"""Seconds that it goes on trying a target that does not answer, once no session lives."""
TICK = 0.5
"""Seconds between two looks at the store."""
_REAP_INTERVAL = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds between two tries of a target that fails."""
_WAIT_TICK = 0.05

_log = logging.getLogger(__name__)


def sync(
    settings: Settings,
    *,
    watch: bool = False,
    timeout: float | None = None,
    patience: float | None = None,
    progress: Progress | None = None,
) -> SyncReport:
    """Deliver the outbox to MLflow now; end the runs of dead kernels first.

    Where another process is delivering already, waits for it. ``watch`` goes on until interrupted.
    ``timeout`` is in seconds; without one, a target that does not answer is tried once and the failure
    reported. ``patience``: seconds of those after which a target that does not answer at all is given up.
    ``progress`` is called with a kind and a number for what was just delivered. Does not raise for
    a target that fails: see ``SyncReport.error``.

    Raises:
        TransientError: the local store cannot be opened.
    """
    store = open_workspace_store(settings)
    lease = FileLock(delivery_lock(settings))
    deadline = None if timeout is None else time.monotonic() + timeout
    answer_by = deadline if deadline is None or patience is None else min(deadline, time.monotonic() + patience)
    try:
        killed = reap(store, settings)
        # What a living kernel records from here on is for the next delivery.
        goal = latest_rows(store)
        if not lease.acquire():
            report = _wait(store, settings, lease, deadline, answer_by, killed, goal)
            if report is not None and not watch:
                return report
            while report is not None and not lease.acquire():
                time.sleep(TICK)  # the other process ends when it is idle; this one goes on after it
        try:
            if watch:
                Watch(store, settings, progress, forever=True).run()
            return _deliver(store, settings, deadline, answer_by, progress, killed, goal)
        finally:
            lease.release()
    finally:
        store.close()


def _deliver(
    store: Connection,
    settings: Settings,
    deadline: float | None,
    answer_by: float | None,
    progress: Progress | None,
    killed: list[RunUid],
    goal: Mapping[str, int],
) -> SyncReport:
    """Deliver in this process, which holds the lease; with a deadline, try again until then."""
    attempts: Counter[tuple[str, int]] = Counter()
    delivered: Counter[str] = Counter()
    error: MlopsError | None = None
    link: Link | None = None
    pause = _FIRST_PAUSE
    revived = False
    while True:
        try:
            link = link or open_link(settings, store)
            one = Pass(link, attempts, progress)
            try:
                if not revived:
                    one.retry_dead_letters()
                    revived = True
                one.run()
            finally:
                delivered += one.delivered
            error = None
            break
        except MlopsError as caught:
            error = caught
            link = None
            until = deadline
            if not isinstance(caught, ItemTroubleError):
                if deadline is None or not isinstance(caught, UnreachableError | TransientError):
                    break
                until = answer_by
            if until is not None and time.monotonic() + pause >= until:
                break
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
    write_status(settings, delivered, error)
    return _report(store, target_of(settings), delivered, killed, goal, error)


def _wait(
    store: Connection,
    settings: Settings,
    lease: FileLock,
    deadline: float | None,
    answer_by: float | None,
    killed: list[RunUid],
    goal: Mapping[str, int],
) -> SyncReport | None:
    """Wait until the other process has delivered all; None where it ended and this one has the lease."""
    target = target_of(settings)
    before = _positions(store, target)
    asked = time.time()
    _wake(settings)
    while True:
        if not _left(store, target, goal):
            return _report(store, target, _moved(store, target, before), killed, goal, None)
        if lease.acquire():
            return None
        status = read_status(settings)
        patient = answer_by is not None and time.monotonic() < answer_by
        if status is not None and status.error is not None and status.at > asked and not patient:
            error: MlopsError = UnreachableError(status.error, hint=status.hint)
            return _report(store, target, _moved(store, target, before), killed, goal, error)
        if deadline is not None and time.monotonic() >= deadline:
            error = RunTimeoutError("The delivery process is still at work.", hint="Give it more time: mlops sync")
            if status is not None and status.error is not None:
                error = UnreachableError(status.error, hint=status.hint)
            return _report(store, target, _moved(store, target, before), killed, goal, error)
        time.sleep(_WAIT_TICK)


def _wake(settings: Settings) -> None:
    path = wake_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _report(
    store: Connection,
    target: Target,
    delivered: Mapping[str, int],
    killed: list[RunUid],
    goal: Mapping[str, int],
    error: MlopsError | None,
) -> SyncReport:
    return SyncReport(
        target=target.key,
        delivered={kind: number for kind, number in delivered.items() if number},
        remaining=_left(store, target, goal),
        dead_letters=tuple(outbox.dead_letters(store, target.key)),
        killed=tuple(killed),
        error=error,
    )


def _positions(store: Connection, target: Target) -> dict[str, int]:
    return {stream: outbox.position(store, target.key, stream) for stream in outbox.STREAMS}


def _moved(store: Connection, target: Target, before: Mapping[str, int]) -> dict[str, int]:
    """Rows by which the cursors moved: what the other process delivered while this one waited."""
    return {
        stream: _count(store, stream, start, outbox.position(store, target.key, stream))
        for stream, start in before.items()
    }


def _left(store: Connection, target: Target, goal: Mapping[str, int]) -> dict[str, int]:
    """Rows up to the goal that the target lacks, of each stream that has any."""
    counts = {s: _count(store, s, outbox.position(store, target.key, s), end) for s, end in goal.items()}
    return {stream: count for stream, count in counts.items() if count}


def _count(store: Connection, stream: str, after: int, upto: int) -> int:
    ((count,),) = store.execute(f"SELECT COUNT(*) FROM {stream} WHERE seq > ? AND seq <= ?", (after, upto))
    return int(count)


class Watch:
    """Goes on delivering: looks at the store every half second, and ends when it is idle.

    Imports MLflow only once there is something to deliver, so that a kernel without a tracked cell costs
    little.
    """

    def __init__(
        self,
        store: Connection,
        settings: Settings,
        progress: Progress | None = None,
        *,
        forever: bool = False,
        idle_time: float = IDLE_TIME,
        tick: Callable[[], None] | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._progress = progress
        self._forever = forever
        self._idle_time = idle_time
        self._tick = tick
        self._target = target_of(settings)
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._delivered: Counter[str] = Counter()
        self._link: Link | None = None
        self._error: MlopsError | None = None
        self._pause = _FIRST_PAUSE

    def run(self) -> None:
        """Deliver until there is nothing to wait for."""
        last_news = last_good = time.monotonic()
        next_try = next_reap = 0.0
        version, woken, living = -1, -1.0, True
        while self._settings.database.exists():
            now = time.monotonic()
            if now >= next_reap:
                reap(self._store, self._settings)
                living = bool(living_sessions(self._store, self._settings))
                next_reap = now + _REAP_INTERVAL
            seen, asked = self._version(), self._asked()
            if seen != version or asked != woken or (self._error is not None and now >= next_try):
                if asked != woken or self._error is None or now >= next_try:
                    news = self._deliver()
                    next_try = time.monotonic() + self._pause
                    if news:
                        last_news = time.monotonic()
                    if self._error is None:
                        last_good = time.monotonic()
                version, woken = seen, asked
            now = time.monotonic()
            waiting = self._error is not None and now - last_good < GIVE_UP_TIME
            if not (self._forever or living or waiting) and now - last_news >= self._idle_time:
                return
            if self._tick is not None:
                self._tick()
            time.sleep(TICK)

    def _deliver(self) -> bool:
        """One pass; whether anything was delivered."""
        if not outbox.backlog(self._store, self._target.key).pending:
            self._say(None)
            return False
        number = self._delivered.total()
        try:
            self._link = self._link or open_link(self._settings, self._store)
            with mlflow_environment():
                one = Pass(self._link, self._attempts, self._progress)
                try:
                    one.run()
                finally:
                    self._delivered += one.delivered
        except MlopsError as error:
            _log.warning("%s", error)
            self._failed(error)
        except Exception as error:  # noqa: BLE001 a fault of ours must not end the delivery of the rest
            _log.exception("the pass failed")
            self._failed(TransientError(f"The delivery failed: {first_line(error)}"))
        else:
            self._pause = _FIRST_PAUSE
            self._say(None)
        return self._delivered.total() > number

    def _failed(self, error: MlopsError) -> None:
        self._link = None
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._say(error)

    def _say(self, error: MlopsError | None) -> None:
        self._error = error
        write_status(self._settings, self._delivered, error)

    def _version(self) -> int:
        ((version,),) = self._store.execute("PRAGMA data_version")
        return int(version)

    def _asked(self) -> float:
        try:
            return wake_path(self._settings).stat().st_mtime
        except OSError:
            return -1.0
