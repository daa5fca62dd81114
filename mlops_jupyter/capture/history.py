"""What this session's executions made and used, in memory, for the backward slice of a tracked cell."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_jupyter.entities import EntityKind, EntityVersion, ExecutionId, Used, VersionId

if TYPE_CHECKING:
    from mlops_jupyter.analysis import CellAnalysis

Step = tuple["CellAnalysis", frozenset[str] | None, bool]
"""One execution in a slice, the names that the slice needs of it (None: all, it is the tracked cell itself), and
whether a headless run injected it."""

_STEPS_LIMIT = 200
"""Executions that a slice for parameters goes back over."""


@dataclass(frozen=True, slots=True)
class _Execution:
    analysis: CellAnalysis
    used: tuple[VersionId, ...]
    injected: bool


@dataclass(frozen=True, slots=True)
class _Version:
    execution_id: ExecutionId | None
    kind: EntityKind
    name: str
    previous: VersionId | None
    strong: bool
    is_module: bool


class History:
    """Grows by one entry an execution; holds no value of the user's."""

    def __init__(self) -> None:
        self._executions: dict[ExecutionId, _Execution] = {}
        self._versions: dict[VersionId, _Version] = {}

    def add(
        self,
        execution_id: ExecutionId,
        analysis: CellAnalysis,
        versions: Sequence[EntityVersion],
        uses: Sequence[Used],
        *,
        injected: bool = False,
    ) -> None:
        """Remember one execution; ``injected``: its literals were given to a headless run."""
        self._executions[execution_id] = _Execution(analysis, tuple(use.version_id for use in uses), injected)
        for version in versions:
            self._versions[version.version_id] = _Version(
                version.execution_id,
                version.kind,
                version.name,
                version.previous,
                version.strong,
                version.type_name == "module",
            )

    def slice_of(self, execution_id: ExecutionId) -> list[Step]:
        """The execution and those that it depends on, nearest first."""
        own = self._executions.get(execution_id)
        if own is None:
            return []
        steps: list[Step] = [(own.analysis, None, own.injected)]
        for maker, names in self._needed(execution_id, own).items():
            made = self._executions[maker]
            steps.append((made.analysis, frozenset(names), made.injected))
        return steps

    def executions_of(self, execution_id: ExecutionId) -> list[ExecutionId]:
        """Ids of the execution and of all that it depends on, nearest first."""
        own = self._executions.get(execution_id)
        return [] if own is None else [execution_id, *self._needed(execution_id, own, limit=None)]

    def _needed(
        self, execution_id: ExecutionId, own: _Execution, *, limit: int | None = _STEPS_LIMIT
    ) -> dict[ExecutionId, set[str]]:
        needed: dict[ExecutionId, set[str]] = {}
        queue: deque[VersionId] = deque(own.used)
        seen: set[VersionId] = set()
        while queue and (limit is None or len(needed) < limit):
            version_id = queue.popleft()
            if version_id in seen:
                continue
            seen.add(version_id)
            version = self._versions.get(version_id)
            if version is None:
                continue
            if not version.strong and version.previous is not None:
                queue.append(version.previous)
            maker = version.execution_id
            if maker is None or maker == execution_id or maker not in self._executions:
                continue
            if maker not in needed:
                needed[maker] = set()
                queue.extend(self._executions[maker].used)
            if version.kind is EntityKind.VARIABLE:
                needed[maker].add(version.name)
        return needed

    def origin_file(self, execution_id: ExecutionId, name: str) -> str | None:
        """The file that the variable ``name``, as the execution used it, was read from.

        The nearest execution that read files decides; None where it read several, or none did.
        """
        own = self._executions.get(execution_id)
        if own is None:
            return None
        queue = [v for v in own.used if v in self._versions and self._versions[v].name == name]
        if not queue:  # made in this execution
            files = self._files_of(own)
            if files:
                return files.pop() if len(files) == 1 else None
            queue = list(own.used)
        seen: set[ExecutionId] = {execution_id}
        while queue and len(seen) < _STEPS_LIMIT:
            version = self._versions.get(queue.pop(0))
            if version is None or version.is_module:
                continue
            if not version.strong and version.previous is not None:
                queue.append(version.previous)
            maker = version.execution_id
            if maker is None or maker in seen or maker not in self._executions:
                continue
            seen.add(maker)
            files = self._files_of(self._executions[maker])
            if files:
                return files.pop() if len(files) == 1 else None
            queue.extend(self._executions[maker].used)
        return None

    def _files_of(self, execution: _Execution) -> set[str]:
        versions = (self._versions.get(version_id) for version_id in execution.used)
        return {version.name for version in versions if version is not None and version.kind is EntityKind.FILE}
