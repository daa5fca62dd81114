"""What each executed cell read and wrote in the namespace and in hidden state.

Before the cell: its text is analysed, the namespace's identities and the fingerprints of what it may change
are taken.
During: probes mark functions that ran and branches that were taken. After, also on an error: differences
become
versions, and what was read becomes uses. Only identities and digests are kept, never a user's object.
"""

from __future__ import annotations

import ast
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_jupyter.analysis import CellAnalysis, Function, Load, TouchKind, analyze, redact
from mlops_jupyter.analysis.secrets import is_secret_name
from mlops_jupyter.entities import (
    EntityKind,
    EntityVersion,
    ExecutionId,
    Grade,
    SessionId,
    Used,
    VersionId,
)

from . import hidden_state
from ._reached import Reached, reached
from ._states import StateTracker
from ._touched import Touched, find_mutations, find_touched
from .fingerprint import describe
from .minting import new_version_id
from .namespace import AliasIndex, compare, is_hidden, snapshot
from .probes import Probes
from .values import ValueDigests

_MOST_DESCRIBED = 300
_MOST_FUNCTIONS = 500


@dataclass(frozen=True, slots=True)
class Observed:
    """What one execution did."""

    versions: tuple[EntityVersion, ...]
    """Versions that it generated, and versions found outside (``execution_id`` None) that it used."""
    uses: tuple[Used, ...]
    reads: frozenset[str] = frozenset()
    """Names of variables that it read."""
    writes: frozenset[str] = frozenset()
    """Names of variables that it bound, changed or deleted."""
    words: frozenset[str] = frozenset()
    """Names and attributes that its text and the functions that ran load."""


@dataclass(slots=True)
class _Pending:
    """What is known of a cell that has begun."""

    analysis: CellAnalysis
    names: dict[str, int]
    touched: Touched
    static: list[Function]
    states: dict[str, int]
    environment: dict[Any, int]
    modules: dict[str, int]


@dataclass(slots=True)
class _Record:
    """Versions and uses of one execution in the making."""

    execution_id: ExecutionId
    at: float
    versions: dict[VersionId, EntityVersion] = field(default_factory=dict)
    uses: dict[VersionId, Used] = field(default_factory=dict)
    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)


class Observer:
    """Follows one namespace through the executions of its cells. One observer for each kernel session."""

    def __init__(self, session_id: SessionId) -> None:
        self.session_id = session_id
        self._index = AliasIndex()
        self._probes = Probes()
        self._states = StateTracker()
        self._latest: dict[str, VersionId] = {}
        self._deleted: dict[str, VersionId] = {}
        self._history: dict[str, list[VersionId]] = {}
        self._names: dict[str, int] = {}
        self._outputs: dict[int, tuple[ExecutionId, float]] = {}
        self._recent: list[int] = []
        self._pending: _Pending | None = None
        self._values = ValueDigests.of(os.environ)

    # ------------------------------------------------------------------ the three moments

    def before(self, python_source: str, namespace: Mapping[str, Any]) -> None:
        """A cell is about to run. ``python_source`` is its text after IPython's transformation."""
        analysis = analyze(python_source)
        self._probes.reset(analysis)
        names = snapshot(namespace, self._names)
        for name in compare(self._names, names)[0]:
            if not is_hidden(name):  # bound outside of a recorded cell
                self._index.refresh(name, namespace.get(name))
                self._latest.pop(name, None)
        self._names = names
        functions = self._functions_in_reach(analysis)
        if any(f.dynamic for f in functions) and not analysis.dynamic:
            from dataclasses import replace

            analysis = replace(analysis, dynamic=True)
        touched = find_touched(analysis, namespace, names, self._index, functions)
        static = [f for f in functions if not self._probes.probed(f)]
        states = hidden_state.measure() if analysis.active else {}
        environment = hidden_state.environment() if analysis.active else {}
        modules = self._states.modules() if analysis.active else {}
        self._pending = _Pending(analysis, names, touched, static, states, environment, modules)

    def transform_ast(self, tree: ast.AST) -> ast.AST:
        """Put probes into the cell's tree. For ``shell.ast_transformers``."""
        return self._probes.transform(tree)

    def after(
        self,
        namespace: Mapping[str, Any],
        *,
        execution_id: ExecutionId,
        error: BaseException | bool | None = None,
    ) -> Observed:
        """The cell has ended; ``error`` is what it raised (True: the exception that the shell showed last).

        Gives its versions and uses.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return Observed((), ())
        record = _Record(execution_id, time.time())
        analysis = pending.analysis
        names = snapshot(namespace)
        far = reached(analysis, error, namespace, self._probes.taken)
        ran = self._functions_that_ran(pending, far)
        self._read_names(pending, far, ran, record)
        self._need_deleted(pending, far, record)
        self._read_outputs(analysis, far, record)
        self._write_names(pending, far, ran, namespace, names, record)
        self._names = names
        if pending.states:
            self._observe_states(pending, far, ran, namespace, record)
        self._note_outputs(namespace, record)
        return Observed(
            tuple(record.versions.values()),
            tuple(record.uses.values()),
            frozenset(record.reads),
            frozenset(record.writes),
            analysis.attributes.union(*(f.attributes | f.reads for f in ran), (x.name for x in analysis.loads)),
        )

    def latest(self, name: str) -> VersionId | None:
        """The version that a variable has now; None where nothing recorded wrote or read it, or it was
        deleted.
        """
        return self._latest.get(name)

    def history(self, name: str) -> tuple[VersionId, ...]:
        """All versions of a variable in this session, oldest first."""
        return tuple(self._history.get(name, ()))

    @property
    def analysis(self) -> CellAnalysis | None:
        """What the text of the running cell says; None between cells."""
        return self._pending.analysis if self._pending is not None else None

    # ------------------------------------------------------------------ functions

    def _functions_in_reach(self, analysis: CellAnalysis) -> list[Function]:
        """Functions of the notebook that this cell may run: by the values it names, and what those name in
        turn.
        """
        found: dict[Function, None] = {}
        names = {load.name for load in analysis.loads}
        stack = [*names]
        for function in analysis.functions:
            if function not in found:
                found[function] = None
                stack += [name for name in function.reads if name not in names]
        while stack and len(found) < _MOST_FUNCTIONS:
            for code in self._index.codes(stack.pop()):
                for function in self._probes.functions(code):
                    if function not in found:
                        found[function] = None
                        fresh = function.reads - names
                        names |= fresh
                        stack += fresh
        return list(found)

    def _functions_that_ran(self, pending: _Pending, far: Reached) -> dict[Function, Grade]:
        ran: dict[Function, Grade] = dict.fromkeys(self._probes.entered(), Grade.EXACT)
        own = set(pending.analysis.functions)
        loaded = {x.name for x in pending.analysis.loads if far.possibly(x.at)}
        reachable: set[Function] = set()
        for name in loaded.union(*(f.reads for f in ran)):
            for code in self._index.codes(name):
                under_way = code[1] < 0  # a generator's body goes on without being entered again
                for function in self._probes.functions(code):
                    if under_way and name in loaded:
                        ran.setdefault(function, Grade.ASSUMED)
                    reachable.add(function)
        for function in pending.static:
            if function not in own and function in reachable and not self._probes.probed(function):
                ran[function] = Grade.ASSUMED
        return ran

    # ------------------------------------------------------------------ reads

    def _read_names(self, pending: _Pending, far: Reached, ran: Mapping[Function, Grade], record: _Record) -> None:
        analysis = pending.analysis
        for load in analysis.loads:
            if not load.exposed or not far.possibly(load.at):
                continue
            if load.name in pending.names:
                self._use(load.name, _grade_of(load), "read", record)
            else:
                self._miss(load.name, _grade_of(load), record)
        bound_early = _bound_before_calls(analysis, far)
        for function, grade in ran.items():
            for name in function.reads:
                if name in bound_early:
                    continue
                if name in pending.names:
                    self._use(name, grade, f"read by {function.name}()", record)
                else:
                    self._miss(name, grade, record)
        for magic in analysis.magics:
            if magic.name == "run" and " -i" in f" {magic.line}":
                for name in [n for n in pending.names if not is_hidden(n)][:_MOST_DESCRIBED]:
                    self._use(name, Grade.ASSUMED, "visible to %run -i", record)

    def _use(self, name: str, grade: Grade, reason: str, record: _Record) -> None:
        if is_hidden(name):
            return
        record.reads.add(name)
        version = self._current(name, record)
        known = record.uses.get(version)
        if known is None or (known.grade is not Grade.EXACT and grade is Grade.EXACT):
            record.uses[version] = Used(
                execution_id=record.execution_id, version_id=version, grade=grade, reason=reason
            )

    def _need_deleted(self, pending: _Pending, far: Reached, record: _Record) -> None:
        """``del name`` raises where there is no such name: the cell needs what was there, whatever its value."""
        for delete in pending.analysis.deletes:
            if delete.name in pending.names and not is_hidden(delete.name) and far.possibly(delete.at):
                bound = any(
                    s.name == delete.name and s.certain and s.at.branch < 0 and s.at.statement < delete.at.statement
                    for s in pending.analysis.stores
                )
                if not bound:
                    version = self._current(delete.name, record)
                    grade = Grade.EXACT if delete.certain else Grade.ASSUMED
                    record.uses.setdefault(
                        version,
                        Used(execution_id=record.execution_id, version_id=version, grade=grade, reason="deleted"),
                    )

    def _miss(self, name: str, grade: Grade, record: _Record) -> None:
        """The cell found no such name. Where an execution had deleted it, what the cell did (raise, take another way)
        depends on that: done again without the ``del``, it would find the name."""
        version = self._deleted.get(name)
        if version is not None and not is_hidden(name):
            record.uses.setdefault(
                version,
                Used(execution_id=record.execution_id, version_id=version, grade=grade, reason="looked for, deleted"),
            )

    def _current(self, name: str, record: _Record) -> VersionId:
        """The version of a name at the cell's start; one from outside where nothing recorded wrote it."""
        version = self._latest.get(name)
        if version is None:
            version = new_version_id()
            record.versions[version] = EntityVersion(
                version_id=version, kind=EntityKind.VARIABLE, name=name, session_id=self.session_id,
                execution_id=None, strong=True, grade=Grade.EXACT, reason="bound outside of a recorded cell",
                at=record.at,
            )  # fmt: skip
            self._remember(name, version)
        return version

    def _remember(self, name: str, version: VersionId) -> None:
        self._latest[name] = version
        self._history.setdefault(name, []).append(version)

    # ------------------------------------------------------------------ writes

    def _write_names(
        self,
        pending: _Pending,
        far: Reached,
        ran: Mapping[Function, Grade],
        namespace: Mapping[str, Any],
        names: dict[str, int],
        record: _Record,
    ) -> None:
        analysis = pending.analysis
        changed, gone = compare(pending.names, names)
        self._values.begin_cell()
        strong = {n: "bound" for n in changed if not is_hidden(n)}
        augmented = {t.name for t in analysis.touches if t.kind is TouchKind.AUGMENTED}
        for store in analysis.stores:
            if (  # noqa: SIM102
                store.certain and store.name in names and far.certainly(store.at) and not is_hidden(store.name)
            ):
                if store.name in strong or store.name not in augmented:
                    strong[store.name] = "assigned"
        mutations = find_mutations(
            pending.touched, namespace, skip=strong, ran=ran, possibly=far.possibly, certainly=far.certainly
        )
        defined = {f.name for f in analysis.functions} | set(analysis.classes)
        imported = {i.bound for i in analysis.imports}
        described = 0
        for name, reason in strong.items():
            if name in defined:
                reason = "defined"
            elif name in imported:
                reason = "imported"
            elif reason == "bound":
                writer = next((f.name for f in ran if name in f.writes), None)
                reason = f"rebound by {writer}()" if writer else "assigned"
            described += 1  # noqa: SIM113
            value = namespace.get(name) if described <= _MOST_DESCRIBED else None
            self._index.refresh(name, namespace.get(name))
            self._version(name, value, record, strong=True, grade=Grade.EXACT, reason=reason)
        for mutation in mutations:
            previous = None if mutation.rebound else self._current(mutation.name, record)
            self._index.refresh(mutation.name, namespace.get(mutation.name))
            self._version(
                mutation.name, namespace.get(mutation.name), record, strong=mutation.rebound, grade=mutation.grade,
                reason=mutation.reason, previous=None if mutation.rebound else previous,
            )  # fmt: skip
        for name in gone:
            if not is_hidden(name):
                self._index.remove(name)
                self._version(name, None, record, strong=True, grade=Grade.EXACT, reason="deleted", deleted=True)
                self._deleted[name] = self._latest.pop(name)

    def _version(
        self,
        name: str,
        value: object,
        record: _Record,
        *,
        strong: bool,
        grade: Grade,
        reason: str,
        previous: VersionId | None = None,
        deleted: bool = False,
    ) -> None:
        version = new_version_id()
        about = None if deleted else describe(value)
        summary = about.summary if about is not None else None
        digest = None
        if summary is not None:
            shown = "***" if type(value) in (str, bytes) and is_secret_name(name) else redact(summary)
            if shown == summary:  # not of a secret: a short one could be guessed from its digest
                digest = self._values.digest(value)
            summary = shown
        record.writes.add(name)
        record.versions[version] = EntityVersion(
            version_id=version, kind=EntityKind.VARIABLE, name=name, session_id=self.session_id,
            execution_id=record.execution_id, strong=strong, grade=grade, reason=reason, at=record.at,
            previous=previous, deleted=deleted, type_name=about.type_name if about is not None else None,
            summary=summary, digest=digest,
        )  # fmt: skip
        self._remember(name, version)

    # ------------------------------------------------------------------ hidden state

    def _observe_states(
        self,
        pending: _Pending,
        far: Reached,
        ran: Mapping[Function, Grade],
        namespace: Mapping[str, Any],
        record: _Record,
    ) -> None:
        changes = self._states.observe(
            pending.analysis, far, ran, namespace, pending.states, pending.environment, pending.modules
        )
        for change in changes:
            used = change.used
            if change.external is not None:
                record.versions[change.external] = EntityVersion(
                    version_id=change.external, kind=EntityKind.STATE, name=change.key, session_id=self.session_id,
                    execution_id=None, strong=True, grade=Grade.EXACT, reason="state before any recorded cell",
                    at=record.at,
                )  # fmt: skip
            if used is not None:
                record.uses.setdefault(
                    used,
                    Used(
                        execution_id=record.execution_id,
                        version_id=used,
                        grade=change.grade,
                        reason=change.reason,
                    ),
                )
            if change.written is not None:
                record.versions[change.written] = EntityVersion(
                    version_id=change.written, kind=EntityKind.STATE, name=change.key, session_id=self.session_id,
                    execution_id=record.execution_id, strong=change.strong, grade=change.grade,
                    reason=change.reason, at=record.at, previous=change.previous,
                )  # fmt: skip

    # ------------------------------------------------------------------ displayed outputs

    def _note_outputs(self, namespace: Mapping[str, Any], record: _Record) -> None:
        out = namespace.get("Out")
        if type(out) is not dict or not out:
            return
        last = next(reversed(out))
        if type(last) is int and last not in self._outputs:
            self._outputs[last] = (record.execution_id, record.at)
            self._recent = [*self._recent[-2:], last]

    def _read_outputs(self, analysis: CellAnalysis, far: Reached, record: _Record) -> None:
        counts = [*analysis.outputs_read]
        stored = {store.name for store in analysis.stores}
        for load in analysis.loads:
            name = load.name
            if name[:1] != "_" or name in stored or not far.possibly(load.at):
                continue
            if name in ("_", "__", "___") and len(self._recent) >= len(name):
                counts.append(self._recent[-len(name)])
            elif name[1:].isdecimal():
                counts.append(int(name[1:]))
        for count in counts:
            origin = self._outputs.get(count)
            if origin is None:
                continue
            name = f"_{count}"
            version = self._latest.get(name)
            if version is None:
                version = new_version_id()
                record.versions[version] = EntityVersion(
                    version_id=version, kind=EntityKind.VARIABLE, name=name, session_id=self.session_id,
                    execution_id=origin[0], strong=True, grade=Grade.EXACT, reason="displayed", at=origin[1],
                )  # fmt: skip
                self._remember(name, version)
            record.reads.add(name)
            record.uses[version] = Used(
                execution_id=record.execution_id, version_id=version, grade=Grade.EXACT, reason="read"
            )


def _grade_of(load: Load) -> Grade:
    if load.deferred:
        return Grade.ASSUMED
    return Grade.EXACT if load.certain else Grade.DECLARED


def _bound_before_calls(analysis: CellAnalysis, far: Reached) -> set[str]:
    """Names that the cell certainly binds in a statement before the first that calls anything."""
    calling = [c.at.statement for c in analysis.calls]
    calling += [t.at.statement for t in analysis.touches if t.kind in (TouchKind.RECEIVER, TouchKind.CALLEE)]
    first = min(calling, default=0)
    return {s.name for s in analysis.stores if s.certain and s.at.statement < first and far.certainly(s.at)}
