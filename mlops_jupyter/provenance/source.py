"""Where the graph and the slices read their records from, and a store of records in memory.

The protocol is all that this package knows of a store, so the same algorithms work on SQLite, on PostgreSQL,
on what a kernel still has in memory and on what static analysis made up for a notebook that was never
tracked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlops_jupyter.entities import CellExecution, EntityVersion, ExecutionId, Used, VersionId


class LineageSource(Protocol):
    """Records by their ids; unknown ids are left out, the order of the answer is free."""

    def executions(self, execution_ids: Sequence[ExecutionId]) -> Sequence[CellExecution]:
        """These executions."""
        ...

    def versions(self, version_ids: Sequence[VersionId]) -> Sequence[EntityVersion]:
        """These versions."""
        ...

    def generated(self, execution_ids: Sequence[ExecutionId]) -> Sequence[EntityVersion]:
        """Versions that these executions generated."""
        ...

    def derived(self, version_ids: Sequence[VersionId]) -> Sequence[EntityVersion]:
        """Weak versions whose previous version is one of these."""
        ...

    def uses_by(self, execution_ids: Sequence[ExecutionId]) -> Sequence[Used]:
        """What these executions used."""
        ...

    def uses_of(self, version_ids: Sequence[VersionId]) -> Sequence[Used]:
        """Who used these versions."""
        ...


@dataclass(frozen=True)
class Records:
    """Executions, versions and uses as plain tuples."""

    executions: tuple[CellExecution, ...] = ()
    versions: tuple[EntityVersion, ...] = ()
    uses: tuple[Used, ...] = ()


class MemorySource:
    """A ``LineageSource`` over records in memory."""

    def __init__(
        self,
        executions: Iterable[CellExecution] = (),
        versions: Iterable[EntityVersion] = (),
        uses: Iterable[Used] = (),
    ) -> None:
        self._executions = {e.execution_id: e for e in executions}
        self._versions = {v.version_id: v for v in versions}
        self._generated: dict[ExecutionId, list[EntityVersion]] = {}
        self._derived: dict[VersionId, list[EntityVersion]] = {}
        self._uses_by: dict[ExecutionId, list[Used]] = {}
        self._uses_of: dict[VersionId, list[Used]] = {}
        for version in self._versions.values():
            if version.execution_id is not None:
                self._generated.setdefault(version.execution_id, []).append(version)
            if version.previous is not None:
                self._derived.setdefault(version.previous, []).append(version)
        for use in uses:
            self._uses_by.setdefault(use.execution_id, []).append(use)
            self._uses_of.setdefault(use.version_id, []).append(use)

    @classmethod
    def of(cls, records: Records) -> MemorySource:
        """A source over ``records``."""
        return cls(records.executions, records.versions, records.uses)

    def executions(self, execution_ids: Sequence[ExecutionId]) -> list[CellExecution]:
        return [self._executions[i] for i in execution_ids if i in self._executions]

    def versions(self, version_ids: Sequence[VersionId]) -> list[EntityVersion]:
        return [self._versions[i] for i in version_ids if i in self._versions]

    def generated(self, execution_ids: Sequence[ExecutionId]) -> list[EntityVersion]:
        return [version for i in execution_ids for version in self._generated.get(i, ())]

    def derived(self, version_ids: Sequence[VersionId]) -> list[EntityVersion]:
        return [v for i in version_ids for v in self._derived.get(i, ()) if not v.strong]

    def uses_by(self, execution_ids: Sequence[ExecutionId]) -> list[Used]:
        return [use for i in execution_ids for use in self._uses_by.get(i, ())]

    def uses_of(self, version_ids: Sequence[VersionId]) -> list[Used]:
        return [use for i in version_ids for use in self._uses_of.get(i, ())]
