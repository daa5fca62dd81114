"""What is installed into IPython's shell, and its removal without a trace.

Every function that IPython calls is wrapped so that nothing of ours raises into a cell.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .options import remove_track_line
from .track_magic import cell_magic, line_magic

if TYPE_CHECKING:
    from .session import CaptureSession


class _AstTransformer:
    """A function over the tree of a cell in the shape that IPython wants; on a fault the cell runs as it
    was."""

    def __init__(self, session: CaptureSession, transform: Callable[[ast.AST], ast.AST]) -> None:
        self._session = session
        self._transform = transform

    def visit(self, tree: ast.AST) -> ast.AST:
        """Called by IPython with the tree of a cell."""
        if self._session.cell is None:
            return tree
        try:
            return self._transform(tree)
        except Exception as error:  # noqa: BLE001 - capture never breaks a cell
            self._session.faults.report("preparing the cell", error)
            fresh: ast.AST = self._session.shell.compile.ast_parse(self._session.cell.python_source)
            return fresh


class Hooks:
    """Events, transformers and magics of one session."""

    def __init__(self, session: CaptureSession) -> None:
        self._session = session
        self._transformers: list[_AstTransformer] = []
        self._replaced: dict[tuple[str, str], Any] = {}

    def install(self) -> None:
        """Install everything. Once."""
        session, shell = self._session, self._session.shell
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)
        shell.input_transformers_cleanup.append(_remove_track_line)
        self._transformers = [
            _AstTransformer(session, lambda tree: session.observer.transform_ast(tree)),
            _AstTransformer(session, _probe_values),
        ]
        shell.ast_transformers.extend(self._transformers)
        self._magic("line", "track", line_magic(session))
        self._magic("cell", "track", cell_magic(session))

    def remove(self) -> None:
        """Remove everything; what others installed meanwhile stays."""
        shell = self._session.shell
        for event, function in (("pre_run_cell", self._before), ("post_run_cell", self._after)):
            if function in shell.events.callbacks[event]:
                shell.events.unregister(event, function)
        if _remove_track_line in shell.input_transformers_cleanup:
            shell.input_transformers_cleanup.remove(_remove_track_line)
        for transformer in self._transformers:
            if transformer in shell.ast_transformers:
                shell.ast_transformers.remove(transformer)
        for (kind, name), before in self._replaced.items():
            table = shell.magics_manager.magics[kind]
            if before is None:
                table.pop(name, None)
            else:
                table[name] = before
        self._replaced.clear()

    def _magic(self, kind: str, name: str, function: Callable[..., Any]) -> None:
        table = self._session.shell.magics_manager.magics[kind]
        self._replaced[kind, name] = table.get(name)
        self._session.shell.register_magic_function(function, magic_kind=kind, magic_name=name)

    def _before(self, info: Any) -> None:
        try:
            self._session.before_cell(info)
        except Exception as error:  # noqa: BLE001 - capture never breaks a cell
            self._session.faults.report("beginning the cell", error)

    def _after(self, result: Any) -> None:
        try:
            self._session.after_cell(result)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - as above
            self._session.faults.report("ending the cell", error)


def _probe_values(tree: ast.AST) -> ast.AST:
    from . import valueprobes

    return valueprobes.transform(tree)


def _remove_track_line(lines: list[str]) -> list[str]:
    from IPython.core.error import UsageError

    from mlops_jupyter.errors import MlopsError

    try:
        return remove_track_line(lines)
    except MlopsError as error:
        raise UsageError(str(error)) from None


# The terminal must go on to wait for the body of a cell that begins with %%track: IPython then skips this
# transformer when it asks whether the input is complete.
_remove_track_line.has_side_effects = True  # type: ignore[attr-defined]
