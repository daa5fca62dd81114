"""Versions of hidden state: who seeded, who drew, who changed the working directory, the environment, a
library.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from mlops_jupyter.analysis import CellAnalysis, Function
from mlops_jupyter.entities import Grade, VersionId

from . import hidden_state
from ._reached import Reached
from .local_modules import LocalModules
from .minting import new_version_id


@dataclass(frozen=True, slots=True)
class StateChange:
    """What one execution did with one piece of hidden state."""

    key: str
    grade: Grade
    reason: str
    used: VersionId | None = None
    external: VersionId | None = None
    """A version from outside that is used for the first time."""
    written: VersionId | None = None
    strong: bool = False
    previous: VersionId | None = None


class StateTracker:
    """The latest version of each piece of hidden state."""

    def __init__(self) -> None:
        self._latest: dict[str, VersionId] = {}
        self._external: dict[str, VersionId] = {}
        self._modules = LocalModules()

    def modules(self) -> dict[str, int]:
        """A number for the data of each module of the user's own."""
        return self._modules.measure()

    def observe(
        self,
        analysis: CellAnalysis,
        far: Reached,
        ran: Mapping[Function, Grade],
        namespace: Mapping[str, Any],
        before: Mapping[str, int],
        environment: Mapping[Any, int],
        modules: Mapping[str, int],
    ) -> list[StateChange]:
        """Compare hidden state with what it was before the cell."""
        after = hidden_state.measure()
        calls = [c for c in analysis.calls if far.possibly(c.at)]
        inner = [c for f in ran for c in f.calls]
        seeds: dict[str, int] = {}
        for number, call in enumerate([*calls, *inner]):
            root = namespace.get(call.callee.partition(".")[0])
            place = call.at.statement if number < len(calls) else -1
            sure = number >= len(calls) or (call.certain and far.certainly(call.at))
            for key in hidden_state.seeded_keys(call.callee, root) if sure else ():
                if key in after and (after[key] != before.get(key) or call.callee.endswith("seed")):
                    seeds[key] = min(place, seeds.get(key, place))
        changes: list[StateChange] = []
        for key in hidden_state.RANDOM:
            change = self._random(key, before, after, seeds, calls_before(calls, seeds.get(key)), analysis)
            changes += [change] if change is not None else []
        attributes = analysis.attributes | {a for f in ran for a in f.attributes}
        names = {x.name for x in analysis.loads} | {n for f in ran for n in f.reads}
        changes += self._directory(analysis, before, after, attributes | names)
        changes += self._environ(analysis, environment, attributes | names)
        kept = {key for key, number in self._modules.measure().items() if modules.get(key, number) != number}
        changes += self._libraries(analysis, far, ran, namespace, names, {key.partition(".")[0] for key in kept})
        return changes

    def _random(
        self,
        key: str,
        before: Mapping[str, int],
        after: Mapping[str, int],
        seeds: Mapping[str, int],
        drawn_before: bool,
        analysis: CellAnalysis,
    ) -> StateChange | None:
        if key in seeds:
            used = self._latest.get(key) if drawn_before else None
            return self._write(key, "seeded", strong=True, used=used)
        if key not in after or after[key] == before.get(key):
            if key in self._latest and not hidden_state.STATE_READERS.isdisjoint(analysis.attributes):
                return StateChange(key, Grade.ASSUMED, "its state is read", used=self._latest[key])
            return None
        previous = self._latest.get(key)
        if previous is not None:
            return self._write(key, "random numbers drawn", used=previous, previous=previous)
        # Never seeded: a re-run gives other numbers anyway, so drawing cells do not depend on each other.
        fresh = key not in self._external
        version = self._external.setdefault(key, new_version_id())
        return StateChange(
            key,
            Grade.EXACT,
            "random numbers drawn without a seed",
            used=version,
            external=version if fresh else None,
        )

    def _write(
        self,
        key: str,
        reason: str,
        *,
        strong: bool = False,
        used: VersionId | None = None,
        previous: VersionId | None = None,
        grade: Grade = Grade.EXACT,
    ) -> StateChange:
        version = new_version_id()
        self._latest[key] = version
        return StateChange(key, grade, reason, used=used, written=version, strong=strong, previous=previous)

    def _directory(
        self,
        analysis: CellAnalysis,
        before: Mapping[str, int],
        after: Mapping[str, int],
        words: Iterable[str],
    ) -> list[StateChange]:
        latest = self._latest.get("cwd")
        if after["cwd"] != before.get("cwd"):
            return [self._write("cwd", "working directory changed", strong=True, used=latest)]
        relative = any(not os.path.isabs(p.text) and "://" not in p.text for p in analysis.path_literals)  # noqa: PTH117
        if latest is not None and (relative or analysis.magics or not hidden_state.CWD_READERS.isdisjoint(words)):
            return [StateChange("cwd", Grade.ASSUMED, "paths are relative to it", used=latest)]
        return []

    def _environ(self, analysis: CellAnalysis, before: Mapping[Any, int], words: Iterable[str]) -> list[StateChange]:
        latest = self._latest.get("environ")
        if hidden_state.environment_changed(before):
            return [self._write("environ", "environment changed", strong=latest is None, previous=latest)]
        shell = any(m.name in ("system", "getoutput", "env", "bash", "sh", "sx") for m in analysis.magics)
        if latest is not None and (shell or not hidden_state.ENVIRON_READERS.isdisjoint(words)):
            return [StateChange("environ", Grade.DECLARED, "environment read", used=latest)]
        return []

    def _libraries(
        self,
        analysis: CellAnalysis,
        far: Reached,
        ran: Mapping[Function, Grade],
        namespace: Mapping[str, Any],
        names: Iterable[str],
        kept: Iterable[str],
    ) -> list[StateChange]:
        written = dict.fromkeys(sorted(kept), "a module of it keeps what was done")
        touches = [t for t in analysis.touches if far.possibly(t.at)] + [t for f in ran for t in f.touches]
        for touch in touches:
            root = namespace.get(touch.name)
            if type(root) is not ModuleType:
                # ``getcontext().prec = 5``, ``Library.method = mine``
                if touch.kind.explicit and hidden_state.is_definition(root):
                    package = hidden_state.package_of(root)
                    if package is not None:
                        written[package] = f"changed through {touch.name}"
                continue
            package = hidden_state.package_of(root)
            if package is not None and touch.kind.explicit and package != "os":
                written[package] = "a module's attribute was set"
        for call in [c for c in analysis.calls if far.possibly(c.at)] + [c for f in ran for c in f.calls]:
            root = namespace.get(call.callee.partition(".")[0])
            if call.discarded and type(root) is ModuleType and hidden_state.configures(call.callee):
                package = hidden_state.package_of(root)
                if package is not None:
                    written.setdefault(package, f"set by {call.callee}()")
            elif type(root) is ModuleType and hidden_state.changes_inside(call.callee, root):
                package = hidden_state.package_of(root)
                if package is not None and package != "os":
                    written.setdefault(package, f"changed by {call.callee}()")
        changes: list[StateChange] = []
        known = {key.partition(":")[2] for key in self._latest if key.startswith("module:")}
        if known:
            used = {hidden_state.package_of(namespace.get(name)) for name in names if name in namespace}
            used |= {"sys"} if analysis.imports else set()
            for package in sorted(known & used - {None}):
                key = f"module:{package}"
                found = self._latest[key]
                changes += [StateChange(key, Grade.ASSUMED, "its settings may matter", used=found)]
        for package, reason in written.items():
            key = f"module:{package}"
            previous = self._latest.get(key)
            changes.append(self._write(key, reason, strong=previous is None, previous=previous, grade=Grade.ASSUMED))
        return changes


def calls_before(calls: Iterable[Any], seed: int | None) -> bool:
    """Whether anything is called in a statement before the one that seeds."""
    return seed is not None and any(c.at.statement < seed for c in calls)
