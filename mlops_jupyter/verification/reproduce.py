"""Reproducing a run: the recorded code on the recorded data, in a scratch copy, and how its numbers compare.

Nothing of the user's is written, and nothing of it appears among the user's runs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import Exchange, open_exchange
from mlops_jupyter.entities import Run, RunUid
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.store import Connection

from .compare import TOLERANCE
from .inputs import Input, digest_like, find_inputs, place
from .observed import Observed, read_observed
from .recorded_run import RecordedRun, read_run
from .replay import replay
from .replayed import Replay
from .scratch import scratch_copy
from .unpinned import Unpinned, find_unpinned, imported_modules

Verdict = Literal["equal", "within_tolerance", "differs", "missing", "new"]
"""Of one metric; ``new``: only the reproduction has it."""
Whole = Literal["equal", "within_tolerance", "differs", "no_metrics", "failed"]

OnStep = Callable[[int, int, int], None]
"""Called with (number of the attempt from 1, number of the cell from 1, how many there are)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMetric:
    """One metric, as recorded and as reproduced."""

    run_id: RunUid
    run_name: str
    key: str
    recorded: float | None
    reproduced: float | None
    verdict: Verdict
    again: float | None = None
    """Of a second replay, made where the first differed."""
    stable: bool | None = None
    """Whether both replays gave the same; None: there was no second one."""

    @property
    def difference(self) -> float | None:
        """Reproduced less recorded."""
        if self.recorded is None or self.reproduced is None:
            return None
        return self.reproduced - self.recorded if self.verdict != "equal" else 0.0

    @property
    def relative(self) -> float | None:
        """The difference as a part of the recorded value; None where that is 0."""
        if self.difference is None or not self.recorded or not math.isfinite(self.recorded):
            return None
        return self.difference / abs(self.recorded)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedCode:
    """A module or script that is not as it was when the run loaded it."""

    name: str
    recorded: str
    current: str | None
    """Of the file now; None where there is none."""
    used: str | None
    """What the replay loaded; None where it did not."""

    @property
    def as_recorded(self) -> bool:
        """Whether the replay used the recorded code."""
        return self.used == self.recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPackage:
    """A distribution of another version than when the run was made."""

    name: str
    recorded: str | None
    current: str | None
    imported: bool
    """Whether the recorded code imports it itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """What came of it."""

    recorded: RecordedRun
    replay: Replay
    verdict: Whole
    metrics: tuple[ComparedMetric, ...]
    params: tuple[tuple[str, str | None, str | None], ...]
    """Parameters that differ: (key, recorded, reproduced)."""
    inputs: tuple[Input, ...]
    code: tuple[ChangedCode, ...]
    python: tuple[str | None, str | None]
    """Version of Python, recorded and now."""
    packages: tuple[ChangedPackage, ...]
    unpinned: tuple[Unpinned, ...]
    failed_cell: str | None
    """``In [3]``"""
    failed_before: bool
    """Whether the recorded run failed with the same error."""
    notes: tuple[str, ...]
    attempts: int
    seconds: float
    scratch: str | None
    """Folder of the scratch copy, where it was kept."""

    @property
    def exit_code(self) -> int:
        """0, 1 the code failed, 3 a metric differs, 75 the kernel died, 124 timed out, 130 interrupted."""
        if not self.replay.succeeded:
            return self.replay.exit_code or 1
        return 3 if self.verdict == "differs" else 0


@dataclass(frozen=True, slots=True)
class _Attempt:
    replay: Replay
    observed: Observed
    folder: str


def reproduce_run(
    settings: Settings,
    store: Connection,
    run_uid: RunUid,
    *,
    timeout: float | None = None,
    tolerance: float = TOLERANCE,
    repeat: bool = True,
    keep: bool = False,
    on_step: OnStep | None = None,
    cancelled: threading.Event | None = None,
) -> Reproduced:
    """Run the recorded code of a run again and compare.

    ``timeout``: seconds for each replay. ``tolerance``: relative difference up to which two values count as the same.
    ``repeat``: where a metric differs, replay once more, which tells code that never gives the same twice from a
    change. ``keep``: leave the scratch copy.

    Raises:
        UsageError: the run cannot be run again, or its data is gone.
        TransientError: the scratch copy cannot be made, or the replay could not be started.
    """
    began = time.monotonic()
    recorded = read_run(store, run_uid, root=str(settings.root))
    exchange = open_exchange(settings)
    inputs = find_inputs(recorded, store=store, exchange=exchange, root=settings.root)

    def attempt(number: int, *, keep: bool) -> _Attempt:
        return _attempt(
            settings, recorded, inputs, exchange, timeout=timeout, keep=keep, cancelled=cancelled,
            on_cell=None if on_step is None else lambda cell, of: on_step(number, cell, of),
        )  # fmt: skip

    first = attempt(1, keep=keep)
    metrics = compare_metrics(recorded, first.observed, tolerance=tolerance)
    attempts = 1
    if repeat and first.replay.succeeded and any(m.verdict in ("differs", "missing") for m in metrics):
        second = attempt(2, keep=False)
        attempts = 2
        if second.replay.succeeded:
            metrics = _with_second(metrics, compare_metrics(recorded, second.observed, tolerance=tolerance))
    texts = _texts(recorded, exchange)
    used = tuple(item.read_as(first.observed.files.get(item.name, ())) for item in inputs)
    packages = _packages(recorded, first.observed, imported_modules(text for _, text in texts))
    failed = next((c for c in recorded.cells if c.cell_id == first.replay.failed_cell), None)
    count = None if failed is None else failed.execution.execution_count
    return Reproduced(
        recorded=recorded, replay=first.replay,
        verdict=_verdict(metrics) if first.replay.succeeded else "failed",
        metrics=metrics, params=_params(recorded, first.observed), inputs=used,
        code=_changed_code(recorded, first.observed, settings.root),
        python=(_python(recorded.environment), _python(first.observed.environment)), packages=packages,
        unpinned=find_unpinned(texts),
        failed_cell=None if failed is None else f"In [{'?' if count is None else count}]",
        failed_before=failed is not None
        and failed.execution.error is not None
        and failed.execution.error == first.observed.errors.get(failed.cell_id),
        notes=recorded.notes, attempts=attempts, seconds=time.monotonic() - began,
        scratch=first.folder if keep else None,
    )  # fmt: skip


def _attempt(
    settings: Settings,
    recorded: RecordedRun,
    inputs: tuple[Input, ...],
    exchange: Exchange,
    *,
    timeout: float | None,
    keep: bool,
    on_cell: Callable[[int, int], None] | None,
    cancelled: threading.Event | None,
) -> _Attempt:
    on_disk = [item.name for item in inputs if item.state in ("unchanged", "changed", "unknown")]
    with scratch_copy(
        settings.root,
        base=settings.home / "scratch",
        needed=on_disk,
        written=recorded.written,
        near=settings.root / recorded.folder,
        keep=keep,
    ) as scratch:
        place(inputs, recorded, scratch, exchange)
        done = replay(
            recorded.document(), scratch=scratch, folder=recorded.folder, name="reproduction", timeout=timeout,
            fingerprints=False, on_cell=on_cell, cancelled=cancelled,
        )  # fmt: skip
        return _Attempt(done, read_observed(scratch), str(scratch.folder))


def compare_metrics(recorded: RecordedRun, observed: Observed, *, tolerance: float) -> tuple[ComparedMetric, ...]:
    """The latest value of each metric of the run and of those nested in it."""
    found: list[ComparedMetric] = []
    for run, cell_id in recorded.runs:
        again = _counterpart(recorded, observed, cell_id)
        values: Mapping[str, float] = {} if again is None else again.metrics
        for key in dict.fromkeys([*run.metrics, *values]):
            before, after = run.metrics.get(key), values.get(key)
            found.append(
                ComparedMetric(
                    run_id=run.run_uid, run_name=run.name, key=key, recorded=before, reproduced=after,
                    verdict=_compare(before, after, tolerance),
                )
            )  # fmt: skip
    return tuple(found)


def _counterpart(recorded: RecordedRun, observed: Observed, cell_id: str | None) -> Run | None:
    if cell_id is None:
        return observed.parent
    if cell_id in observed.runs:
        return observed.runs[cell_id]
    # A run that log_metric began by itself: headless its values belong to the whole.
    return observed.parent if recorded.shape == "cell" else None


def _compare(before: float | None, after: float | None, tolerance: float) -> Verdict:
    if before is None:
        return "new"
    if after is None:
        return "missing"
    if before == after or (math.isnan(before) and math.isnan(after)):
        return "equal"
    return "within_tolerance" if math.isclose(before, after, rel_tol=tolerance) else "differs"


def _with_second(first: tuple[ComparedMetric, ...], second: tuple[ComparedMetric, ...]) -> tuple[ComparedMetric, ...]:
    values = {(m.run_id, m.key): m.reproduced for m in second}
    found = []
    for metric in first:
        again = values.get((metric.run_id, metric.key))
        same = _compare(metric.reproduced, again, TOLERANCE) in ("equal", "within_tolerance") or (
            metric.reproduced is None and again is None
        )
        found.append(replace(metric, again=again, stable=same))
    return tuple(found)


def _verdict(metrics: tuple[ComparedMetric, ...]) -> Whole:
    verdicts = {metric.verdict for metric in metrics if metric.verdict != "new"}
    if not verdicts:
        return "no_metrics"
    if verdicts & {"differs", "missing"}:
        return "differs"
    return "within_tolerance" if "within_tolerance" in verdicts else "equal"


def _params(recorded: RecordedRun, observed: Observed) -> tuple[tuple[str, str | None, str | None], ...]:
    found = []
    for run, cell_id in recorded.runs:
        again = _counterpart(recorded, observed, cell_id) if cell_id is not None else None
        if again is None:
            continue  # those of a headless run are in its cells
        for key in dict.fromkeys([*run.params, *again.params]):
            before, after = run.params.get(key), again.params.get(key)
            if before != after:
                found.append((key, before, after))
    return tuple(found)


def _texts(recorded: RecordedRun, exchange: Exchange) -> list[tuple[str, str]]:
    texts = [
        (f"In [{'?' if c.execution.execution_count is None else c.execution.execution_count}]", c.source)
        for c in recorded.cells
    ]
    for code in recorded.snapshots:
        if code.module is not None and code.object is not None:
            try:
                texts.append((code.module or code.name, exchange.get(code.object).decode("utf-8", "replace")))
            except MlopsError:
                continue
    return texts


def _changed_code(recorded: RecordedRun, observed: Observed, root: Path) -> tuple[ChangedCode, ...]:
    found = []
    for code in recorded.snapshots:
        if code.module is None:
            continue
        used, current = observed.code.get(code.name), digest_like(root / code.name, code.digest)
        # Modules that the session had loaded, and that the run does not need, are no matter.
        if used is not None and (used != code.digest or current != code.digest):
            found.append(ChangedCode(name=code.name, recorded=code.digest, current=current, used=used))
    return tuple(dict.fromkeys(found))


def _python(environment: Mapping[str, Any]) -> str | None:
    version = environment.get("python")
    return str(version) if version is not None else None


def _packages(recorded: RecordedRun, observed: Observed, imported: set[str]) -> tuple[ChangedPackage, ...]:
    before, after = (_distributions(e) for e in (recorded.environment, observed.environment))
    if not before or not after:
        return ()
    differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if not differing:
        return ()
    owners = metadata.packages_distributions()
    own = {_normalised(d) for module in imported for d in owners.get(module, [module])}
    found = [
        ChangedPackage(name=name, recorded=before.get(name), current=after.get(name), imported=name in own)
        for name in differing
    ]
    return tuple(sorted(found, key=lambda p: (not p.imported, p.name)))


def _distributions(environment: Mapping[str, Any]) -> dict[str, str]:
    found = environment.get("distributions")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _normalised(name: str) -> str:
    return name.replace("_", "-").replace(".", "-").lower()
