"""What a notebook is about when nobody says so, and which of its other cells only show something."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlops_jupyter.analysis import CellAnalysis
from mlops_jupyter.entities import CellExecution, EntityKind, EntityVersion, ExecutionId, ExecutionStatus, Grade
from mlops_jupyter.provenance import Records, without_magics

from .masked import analysis_of, tree_of

_DEFINITIONS = ("module", "function", "type", "builtins.module", "builtins.function", "builtins.type")
_PICTURES = ("matplotlib.", "seaborn.", "plotly.", "altair.", "bokeh.", "ipywidgets.", "graphviz.", "IPython.")
_HOLDERS = ("tuple", "list", "numpy.ndarray", "builtins.tuple", "builtins.list", "NoneType", "builtins.NoneType")
_SHOWN = re.compile(r"(?:^|\.)(?:print|pprint|display|show|info|plot\w*|hist\w*|imshow)$")
_QUIET_MAGICS = frozenset({"matplotlib", "config", "precision"})
_ABSOLUTE = re.compile(r"^(?:/|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://)")


@dataclass(frozen=True, slots=True)
class Roots:
    """The executions that a conversion keeps for their own sake; all else is kept because these need it."""

    executions: tuple[CellExecution, ...]
    label: str
    """What they are, for people."""
    each: bool = False
    """Whether each stands for itself, so that one that cannot be converted can be left out."""


def cell_key(execution: CellExecution) -> str:
    """What tells the executions of one cell from those of others: the cell's id, else its text."""
    return f"id:{execution.cell_id}" if execution.cell_id else f"text:{execution.source}"


def track_arguments(source: str) -> str | None:
    """The words after ``%%track`` of a tracked cell, None of another."""
    for line in source.split("\n"):
        found = re.match(r"\s*%%(?P<name>\w+)(?P<rest>[^\n]*)$", line)
        if found is None:
            if line.strip():
                return None
        elif found["name"] == "track":
            return None if found["rest"].strip().startswith("?") else found["rest"].strip()
    return None


def default_roots(records: Records, *, headless: bool = False) -> Roots:
    """What a session is about.

    The latest execution of each tracked cell (with ``headless`` a cell of a run counts only where it has a line
    ``%%track``) and the executions that wrote a file of the workspace as it is now. Where there are none: the
    executions whose variables are there at the end and were used by nothing that made something (imports and
    definitions do not count). Where there are none either: those that show something, and at last all that ran.
    """
    done = [e for e in records.executions if e.status is ExecutionStatus.OK]
    latest = {cell_key(e): e for e in done}
    tracked = [
        e for e in latest.values() if track_arguments(e.source) is not None or (e.run_uid is not None and not headless)
    ]
    writers = _writers(records)
    if tracked or writers:
        label = " and ".join(
            [f"{len(tracked)} tracked cells" if len(tracked) != 1 else "the tracked cell"] * bool(tracked)
            + ["the files written"] * bool(writers)
        )
        return Roots(_ordered(records, {e.execution_id for e in tracked} | writers), label)
    results = _results(records)
    if results:
        return Roots(_ordered(records, results), "the results at the end", each=True)
    shown = {e.execution_id for e in latest.values() if _shows(analysis_of(without_magics(e.source)))}
    if shown:
        return Roots(_ordered(records, shown), "what the cells show", each=True)
    ran = {e.execution_id for e in latest.values() if without_magics(e.source).strip()}
    return Roots(_ordered(records, ran), "all cells that ran")


def _ordered(records: Records, wanted: Iterable[ExecutionId]) -> tuple[CellExecution, ...]:
    kept = set(wanted)
    return tuple(e for e in records.executions if e.execution_id in kept)


def _writers(records: Records) -> set[ExecutionId]:
    last: dict[str, EntityVersion] = {}
    here = {e.execution_id for e in records.executions}
    for version in records.versions:
        if version.kind is EntityKind.FILE and version.execution_id in here and not _ABSOLUTE.match(version.name):
            known = last.get(version.name)
            if known is None or known.at <= version.at:
                last[version.name] = version
    return {v.execution_id for v in last.values() if not v.deleted and v.execution_id is not None}


def _results(records: Records) -> set[ExecutionId]:
    last = _last_versions(records.versions)
    makers = {v.execution_id for v in records.versions if v.execution_id is not None}
    used = {u.version_id for u in records.uses if u.execution_id in makers}
    used |= {v.previous for v in records.versions if v.previous is not None and not v.strong}
    pictures = {
        e.execution_id
        for e in records.executions
        if _shows(analysis_of(without_magics(e.source))) and _only_pictures(records, e.execution_id)
    }
    found: set[ExecutionId] = set()
    for version in last.values():
        maker = version.execution_id
        if maker is None or version.deleted or version.name.startswith("_") or _no_result(version.type_name):
            continue
        if version.version_id not in used and maker not in pictures:
            found.add(maker)
    return found


def _no_result(type_name: str | None) -> bool:
    """Modules, functions, classes and open files are means, not ends."""
    return type_name in _DEFINITIONS or (type_name or "").startswith("_io.")


def _last_versions(versions: Sequence[EntityVersion]) -> dict[str, EntityVersion]:
    last: dict[str, EntityVersion] = {}
    for version in versions:
        if version.kind is EntityKind.VARIABLE:
            known = last.get(version.name)
            if known is None or known.at <= version.at:
                last[version.name] = version
    return last


def _only_pictures(records: Records, execution: ExecutionId) -> bool:
    made = [v for v in records.versions if v.execution_id == execution and v.kind is EntityKind.VARIABLE]
    types = [v.type_name or "" for v in made]
    return any(t.startswith(_PICTURES) for t in types) and all(t.startswith(_PICTURES) or t in _HOLDERS for t in types)


def display_leaves(records: Records, kept: Iterable[ExecutionId]) -> tuple[CellExecution, ...]:
    """Executions outside of ``kept`` that only show something and can come after all of ``kept``, in order.

    Each is the latest of its cell, succeeded, shows something, wrote no file, changed no variable that the kept
    executions know, and read variables as they are when the last of the kept executions is done. Cells of nothing
    but imports that these need come with them.
    """
    chosen = set(kept)
    positions = {e.execution_id: e.position for e in records.executions}
    made: dict[ExecutionId, list[EntityVersion]] = {}
    for version in records.versions:
        if version.execution_id is not None:
            made.setdefault(version.execution_id, []).append(version)
    uses: dict[ExecutionId, list[EntityVersion]] = {}
    versions = {v.version_id: v for v in records.versions}
    for use in records.uses:
        if use.version_id in versions:
            uses.setdefault(use.execution_id, []).append(versions[use.version_id])
    ends = _last_versions([v for i in chosen for v in made.get(i, ()) if i in positions])
    known = {v.name for i in chosen for v in (*made.get(i, ()), *uses.get(i, ())) if v.kind is EntityKind.VARIABLE}
    latest = {cell_key(e): e for e in records.executions}
    by_id = {e.execution_id: e for e in records.executions}
    leaves: dict[ExecutionId, None] = {}
    for execution in sorted(latest.values(), key=lambda e: e.position):
        own = execution.execution_id
        if own in chosen or execution.status is not ExecutionStatus.OK or not _may_show(execution):
            continue
        if not _changes_nothing(made.get(own, ()), known):
            continue
        extra: list[ExecutionId] = []
        for version in uses.get(own, ()):
            if version.kind is not EntityKind.VARIABLE:
                continue
            maker = version.execution_id
            end = ends.get(version.name)
            if end is not None and end.version_id == version.version_id:
                continue
            source = by_id.get(maker) if maker is not None else None
            if end is None and source is not None and _only_imports(without_magics(source.source)):
                extra.append(source.execution_id)
            elif maker not in leaves or version.name in known:
                break
        else:
            leaves.update(dict.fromkeys([*extra, own]))
    return tuple(sorted((by_id[i] for i in leaves), key=lambda e: e.position))


def _may_show(execution: CellExecution) -> bool:
    if track_arguments(execution.source) is not None:
        return False
    analysis = analysis_of(without_magics(execution.source))
    if analysis.dynamic or any(m.name not in _QUIET_MAGICS for m in analysis.magics):
        return False
    return _shows(analysis)


def _shows(analysis: CellAnalysis) -> bool:
    if analysis.displayed is not None:
        return True
    return any(_SHOWN.search(call.callee) for call in analysis.calls)


def _changes_nothing(versions: Iterable[EntityVersion], known: set[str]) -> bool:
    for version in versions:
        if version.kind is EntityKind.FILE or version.deleted:
            return False
        if version.kind is EntityKind.STATE and version.name in ("cwd", "environ"):
            return False
        # A mutation that is only assumed (df.plot() might change df) did not show in the value.
        changes = version.strong or version.grade is not Grade.ASSUMED
        if version.kind is EntityKind.VARIABLE and version.name in known and changes:
            return False
    return True


def _only_imports(source: str) -> bool:
    import ast

    tree = tree_of(source)
    return tree is not None and all(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body)
