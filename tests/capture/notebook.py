"""Run cells in a real shell with an observer, as a session does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from mlops_jupyter.capture.observer import Observed, Observer
from mlops_jupyter.entities import EntityKind, EntityVersion, ExecutionId, SessionId, VersionId


class _Transformer:
    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def visit(self, tree: Any) -> Any:
        return self.observer.transform_ast(tree)


@dataclass
class Notebook:
    """A shell with an observer, and what it observed of each execution."""

    shell: InteractiveShell
    observer: Observer
    sources: list[str] = field(default_factory=list)
    observed: list[Observed] = field(default_factory=list)
    versions: dict[VersionId, EntityVersion] = field(default_factory=dict)
    errors: list[BaseException | None] = field(default_factory=list)

    def run(self, source: str) -> Observed:
        """Execute one cell."""
        number = len(self.sources)
        self.observer.before(self.shell.transform_cell(source), self.shell.user_ns)
        error = execute(self.shell, source)
        seen = self.observer.after(self.shell.user_ns, execution_id=ExecutionId(f"{number:032x}"), error=error)
        self.sources.append(source)
        self.observed.append(seen)
        self.errors.append(error)
        self.versions.update({v.version_id: v for v in seen.versions})
        return seen

    def depends(self, number: int) -> set[int]:
        """Earlier executions that this one depends on."""
        seen = self.observed[number]
        needed = [self.versions[u.version_id] for u in seen.uses]
        needed += [self.versions[v.previous] for v in seen.versions if v.previous is not None]
        return {int(v.execution_id, 16) for v in needed if v.execution_id is not None}

    def states(self, number: int) -> set[str]:
        """Hidden states that this execution wrote."""
        found = self.observed[number].versions
        return {v.name for v in found if v.kind is EntityKind.STATE and v.execution_id is not None}

    def slice(self, name: str) -> list[int]:
        """Executions that the present value of a name needs, in order: the backward closure."""
        version = self.observer.latest(name)
        assert version is not None
        needed: set[int] = set()
        seen: set[VersionId] = set()
        stack = [version]
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            entity = self.versions[current]
            if entity.previous is not None:
                stack.append(entity.previous)
            if entity.execution_id is not None:
                number = int(entity.execution_id, 16)
                if number not in needed:
                    needed.add(number)
                    stack += [u.version_id for u in self.observed[number].uses]
                    stack += [v.previous for v in self.observed[number].versions if v.previous is not None]
        return sorted(needed)


def new_shell() -> InteractiveShell:
    """A shell without a history database: each test counts its cells from one again."""
    InteractiveShell.clear_instance()
    return InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))


def fresh(shell: InteractiveShell) -> None:
    """An empty namespace; faster than ``shell.reset``, which collects garbage each time."""
    kept = {name: value for name, value in shell.user_ns.items() if name[:2] == "__" and name[2:3] != "_"}
    shell.user_ns.clear()
    shell.user_ns.update(kept)
    shell.history_manager.reset(new_session=False)
    shell.displayhook._ = shell.displayhook.__ = shell.displayhook.___ = ""
    shell.init_user_ns()
    shell.execution_count = 1


def execute(shell: InteractiveShell, source: str) -> BaseException | None:
    """Run one cell; what it raised. A notebook shows warnings, it does not stop at them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = shell.run_cell(source, store_history=True)
    return result.error_in_exec or result.error_before_exec


@contextmanager
def notebook(shell: InteractiveShell) -> Iterator[Notebook]:
    """A notebook in a namespace of its own."""
    fresh(shell)
    observer = Observer(SessionId("s" * 32))
    transformer = _Transformer(observer)
    shell.ast_transformers.append(transformer)  # type: ignore[arg-type]
    try:
        yield Notebook(shell, observer)
    finally:
        shell.ast_transformers.remove(transformer)  # type: ignore[arg-type]
