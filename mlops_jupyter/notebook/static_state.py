"""The records of a static analysis in the making."""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field

from mlops_jupyter.entities import (
    CellExecution,
    EntityKind,
    EntityVersion,
    ExecutionId,
    Grade,
    SessionId,
    Used,
    VersionId,
)

from .static_files import Files
from .static_values import Values

SESSION = SessionId("static")
_GIVEN = frozenset(
    {"display", "get_ipython", "exit", "quit", "In", "Out", "_", "__", "___", "__file__", "__doc__", "__name__",
     "__spec__", "_ih", "_oh", "_dh", "__builtins__"}
)  # fmt: skip
"""Names that every notebook has."""
UNASSIGNED = "no cell above assigns it"


@dataclass(slots=True)
class State:
    """What is known after the cells so far."""

    notebook: str | None
    executions: list[CellExecution] = field(default_factory=list)
    versions: list[EntityVersion] = field(default_factory=list)
    uses: dict[tuple[ExecutionId, VersionId], Used] = field(default_factory=dict)
    last: dict[tuple[EntityKind, str], EntityVersion] = field(default_factory=dict)
    values: Values = field(default_factory=Values)
    files: dict[tuple[str, tuple[int, int], int], Files] = field(default_factory=dict)
    """Files of each function of the notebook."""
    scalars: set[str] = field(default_factory=set)
    """Names of scalars: no call changes them."""
    stars: list[EntityVersion] = field(default_factory=list)
    """Cells that may bind names which their text does not show."""
    notes: dict[str, None] = field(default_factory=dict)

    def write(
        self,
        execution: CellExecution,
        kind: EntityKind,
        name: str,
        *,
        strong: bool,
        grade: Grade,
        reason: str,
        deleted: bool = False,
    ) -> EntityVersion:
        previous = self.last.get((kind, name))
        version = EntityVersion(
            version_id=VersionId(len(self.versions) + 1),
            kind=kind,
            name=name,
            session_id=SESSION,
            execution_id=execution.execution_id,
            strong=strong or previous is None,
            grade=grade,
            reason=reason,
            at=float(len(self.versions)),
            previous=None if previous is None else previous.version_id,
            deleted=deleted,
        )
        self.versions.append(version)
        self.last[(kind, name)] = version
        return version

    def use(self, execution: CellExecution, version: EntityVersion, grade: Grade, reason: str) -> None:
        key = (execution.execution_id, version.version_id)
        known = self.uses.get(key)
        if version.execution_id != execution.execution_id and (known is None or known.grade is Grade.ASSUMED):
            self.uses[key] = Used(
                execution_id=execution.execution_id, version_id=version.version_id, grade=grade, reason=reason
            )

    def outside(self, kind: EntityKind, name: str, reason: str) -> EntityVersion:
        """A version that no cell makes."""
        version = EntityVersion(
            version_id=VersionId(len(self.versions) + 1), kind=kind, name=name, session_id=SESSION, execution_id=None,
            strong=True, grade=Grade.DECLARED, reason=reason, at=float(len(self.versions)),
        )  # fmt: skip
        self.versions.append(version)
        self.last[(kind, name)] = version
        return version

    def read(self, execution: CellExecution, name: str, grade: Grade, reason: str, *, sure: bool = False) -> None:
        version = self.last.get((EntityKind.VARIABLE, name))
        if version is not None:
            self.use(execution, version, grade, reason)
        elif hasattr(builtins, name) or name in _GIVEN:
            return
        elif not self.stars and sure:
            self.use(execution, self.outside(EntityKind.VARIABLE, name, UNASSIGNED), grade, reason)
        for star in self.stars:
            if version is None or star.at > version.at:
                self.use(execution, star, Grade.ASSUMED, f"{name} may come from there")

    def names(self) -> list[str]:
        """Variables that there are."""
        return [n for (kind, n), v in self.last.items() if kind is EntityKind.VARIABLE and not v.deleted]
