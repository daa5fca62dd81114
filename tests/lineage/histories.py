"""Recorded histories for tests, written as one line for each execution."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlops_jupyter.entities import (
    CellExecution,
    Digest,
    EntityKind,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Grade,
    Origin,
    RunUid,
    Session,
    SessionId,
    Used,
    VersionId,
)
from mlops_jupyter.provenance import MemorySource
from mlops_jupyter.store import Connection
from mlops_jupyter.store.executions import append_execution, append_versions, start_session

_ids = itertools.count(1)


def _hex(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:32]


@dataclass
class History:
    """One session. Names are variables; ``file:PATH`` is a file, ``state:KEY`` hidden state."""

    name: str = "a"
    notebook: str | None = "work.ipynb"
    started: float = 1_700_000_000.0
    executions: list[CellExecution] = field(default_factory=list)
    versions: list[EntityVersion] = field(default_factory=list)
    uses: list[Used] = field(default_factory=list)
    last: dict[tuple[EntityKind, str], EntityVersion] = field(default_factory=dict)
    # Versions of other sessions that a file of this one may use.
    shared: dict[str, EntityVersion] = field(default_factory=dict)

    @property
    def session_id(self) -> SessionId:
        return SessionId(_hex("session", self.name))

    def cell(
        self,
        source: str,
        *,
        reads: Iterable[str] = (),
        writes: Iterable[str] = (),
        mutates: Iterable[str] = (),
        grade: Grade = Grade.EXACT,
        status: ExecutionStatus = ExecutionStatus.OK,
        run: str | None = None,
        deletes: Iterable[str] = (),
        type_name: str = "builtins.int",
    ) -> CellExecution:
        """Record an execution. A name that is read before anything wrote it gets a version from outside."""
        position = len(self.executions)
        digest = Digest("sha256:" + hashlib.sha256(source.encode()).hexdigest())
        execution = CellExecution(
            execution_id=ExecutionId(_hex(self.name, position)),
            session_id=self.session_id,
            position=position,
            execution_count=position + 1,
            cell_id=f"cell-{position}",
            notebook=self.notebook,
            source=source,
            source_digest=digest,
            started_at=self.started + position,
            duration=0.01,
            status=status,
            error="ValueError: no" if status is ExecutionStatus.ERROR else None,
            run_uid=RunUid(run) if run else None,
        )
        self.executions.append(execution)
        mutated = list(mutates)
        for text in dict.fromkeys([*reads, *mutated]):
            used = self._current(text, execution)
            self.uses.append(
                Used(
                    execution_id=execution.execution_id,
                    version_id=used.version_id,
                    grade=grade,
                    reason="read",
                )
            )
        for text in mutated:
            self._add(text, execution, strong=False, grade=grade, reason="mutated")
        for text in writes:
            self._add(text, execution, strong=True, grade=Grade.EXACT, reason="assigned", type_name=type_name)
        for text in deletes:
            self._add(text, execution, strong=True, grade=Grade.EXACT, reason="deleted", deleted=True)
        return execution

    def _current(self, text: str, execution: CellExecution) -> EntityVersion:
        key = _key(text)
        if key not in self.last:
            self.last[key] = self.shared.get(text) or self._version(
                key, None, execution, strong=True, grade=Grade.EXACT, reason="found"
            )
        return self.last[key]

    def _add(
        self,
        text: str,
        execution: CellExecution,
        *,
        strong: bool,
        grade: Grade,
        reason: str,
        deleted: bool = False,
        type_name: str = "builtins.int",
    ) -> None:
        key = _key(text)
        self.last[key] = self._version(
            key, execution.execution_id, execution, strong=strong, grade=grade, reason=reason,
            deleted=deleted, type_name=type_name,
        )  # fmt: skip

    def _version(
        self,
        key: tuple[EntityKind, str],
        maker: ExecutionId | None,
        execution: CellExecution,
        *,
        strong: bool,
        grade: Grade,
        reason: str,
        deleted: bool = False,
        type_name: str = "builtins.int",
    ) -> EntityVersion:
        kind, name = key
        is_file = kind is EntityKind.FILE
        previous = self.last.get(key)
        version = EntityVersion(
            version_id=VersionId(next(_ids)),
            kind=kind,
            name=name,
            session_id=self.session_id,
            execution_id=maker,
            strong=strong,
            grade=grade,
            reason=reason,
            at=execution.started_at + 0.001 * len(self.versions),
            previous=None if previous is None else previous.version_id,
            deleted=deleted,
            type_name=None if is_file else type_name,
            digest=Digest("sha256:" + _hex(name, maker)) if is_file else None,
            size=1234 if is_file else None,
        )
        self.versions.append(version)
        return version

    def version(self, text: str) -> EntityVersion:
        """The latest version of a name."""
        return self.last[_key(text)]

    def source(self) -> MemorySource:
        return MemorySource(self.executions, self.versions, self.uses)

    def save(self, connection: Connection) -> None:
        """Write it all to a store."""
        start_session(
            connection,
            Session(
                session_id=self.session_id, origin=Origin.INTERACTIVE, host="h", pid=1, user="ann",
                notebook=self.notebook, python="3.11", environment=None, started_at=self.started,
            ),
        )  # fmt: skip
        append_versions(connection, [v for v in self.versions if v.execution_id is None])
        for execution in self.executions:
            append_execution(
                connection,
                execution,
                versions=[v for v in self.versions if v.execution_id == execution.execution_id],
                uses=[u for u in self.uses if u.execution_id == execution.execution_id],
            )


def _key(text: str) -> tuple[EntityKind, str]:
    kind, colon, name = text.partition(":")
    if colon and kind in ("file", "state"):
        return EntityKind(kind), name
    return EntityKind.VARIABLE, text


def training(name: str = "a") -> History:
    """A small analysis: load, clean, split, an aside, two models, a score."""
    h = History(name)
    h.cell("%load_ext mlops_jupyter")
    h.cell("import pandas as pd\nimport numpy as np", writes=["pd", "np"], type_name="builtins.module")
    h.cell("raw = pd.read_csv('data/flights.csv')", reads=["pd", "file:data/flights.csv"], writes=["raw"])
    h.cell("raw.head()", reads=["raw"])
    h.cell("raw.to_csv('delays.csv')", reads=["raw"], writes=["file:delays.csv"])
    h.cell("df = pd.read_csv('delays.csv')", reads=["pd", "file:delays.csv"], writes=["df"])
    h.cell("df['late'] = df.delay > 15", mutates=["df"])
    h.cell("aside = df.describe()", reads=["df"], writes=["aside"])
    h.cell("X, y = df[['a', 'b']], df.late", reads=["df"], writes=["X", "y"])
    h.cell("%%track logistic\nmodel = Logistic().fit(X, y)", reads=["X", "y"], writes=["model"], run="1" * 32)
    h.cell("auc = score(model, X, y)", reads=["model", "X", "y"], writes=["auc"])
    return h
