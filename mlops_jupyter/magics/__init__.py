"""``%lineage``, ``%gather`` and ``%mlops``: parse, call a verb, show. ``%%track`` belongs to capture.

Registered when the extension is loaded, so this module imports nothing heavy; each magic imports what it needs.
"""

from __future__ import annotations

import shlex
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlops_jupyter.errors import MlopsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from mlops_jupyter.verbs.lineage import Direction
    from mlops_jupyter.workspace import Workspace

_NAMES = ("lineage", "gather", "mlops")


def register(shell: InteractiveShell) -> None:
    """Add the line magics to ``shell``. Idempotent."""
    for name, function in (("lineage", lineage), ("gather", gather), ("mlops", mlops)):
        shell.magics_manager.register_function(function, magic_kind="line", magic_name=name)
    shell.set_hook("complete_command", _complete_mlops, str_key="%mlops")  # type: ignore[no-untyped-call]


def unregister(shell: InteractiveShell) -> None:
    """Remove them again."""
    for name in _NAMES:
        shell.magics_manager.magics["line"].pop(name, None)


def lineage(line: str) -> Any:
    """%lineage [TARGET] [--up|--down]

    What TARGET was made from and what was made from it: a variable, path/to/file, run:ID, cell:EXECUTION_ID.
    Without TARGET: the last tracked run of this session, else the cell executed last.

    A picture in a notebook, text in a terminal. The graph is the result, so it can be kept:
    ``graph = %lineage model`` and then ``graph.to_mermaid()``.
    """
    with _told_in_one_sentence():
        words = _words(line)
        directions = [word for word in words if word in ("--up", "--down")]
        targets = [word for word in words if word not in directions]
        unknown = [word for word in targets if word.startswith("-")]
        if unknown or len(targets) > 1 or len(directions) > 1:
            raise UsageError(f"%lineage takes one TARGET and --up or --down, got {line.strip()!r}.")
        from mlops_jupyter.verbs.current import current_workspace
        from mlops_jupyter.verbs.current import lineage as find

        if not targets:
            with current_workspace() as (workspace, session_id):
                targets = [_default_target(workspace, session_id)]
        direction: Direction = "both" if not directions else "up" if directions[0] == "--up" else "down"
        return find(targets[0], direction=direction)
    return None


def gather(line: str) -> Any:
    """%gather TARGET [--to FILE.ipynb] [--force]

    The smallest ordered set of recorded cells that makes TARGET (a variable, or a position among the executions).
    With --to it is written as a notebook; --force replaces one that is there. The slice is the result.
    """
    with _told_in_one_sentence():
        words = _words(line)
        force = "--force" in words
        words = [word for word in words if word != "--force"]
        path = None
        if "--to" in words:
            at = words.index("--to")
            if at + 1 >= len(words):
                raise UsageError("%gather --to needs the path of a notebook.", hint="%gather model --to model.ipynb")
            path = words[at + 1]
            del words[at : at + 2]
        if len(words) != 1 or words[0].startswith("-"):
            raise UsageError(f"%gather takes one TARGET, got {line.strip()!r}.", hint="%gather model --to model.ipynb")
        from mlops_jupyter.verbs._targets import position_or_name
        from mlops_jupyter.verbs.current import gather as find

        found = find(position_or_name(words[0]))
        if path is not None:
            from pathlib import Path

            from mlops_jupyter.verbs.current import current_workspace
            from mlops_jupyter.verbs.gather import check_output, document_of

            with current_workspace() as (workspace, _):
                if found.notebook is not None:
                    check_output(workspace.settings.root / found.notebook, Path(path), force=force)
                found.to_notebook(Path(path), force=force, document=document_of(workspace, found))
        return found
    return None


def mlops(line: str) -> Any:
    """%mlops VERB …

    Any verb of the command line with the same words and flags: ``%mlops runs list --limit 5``, ``%mlops doctor``.
    ``%mlops --help`` lists the verbs, ``%mlops VERB --help`` explains one.
    """
    with _told_in_one_sentence():
        from mlops_jupyter import capture
        from mlops_jupyter.cli import collected, invoke

        session = capture.current()
        if session is not None:
            session.sink.settle()  # a verb opens the store anew and must see the cells before this one
        with collected() as page, warnings.catch_warnings():
            # Those of MLflow and its libraries are nobody's business here; a notebook that turns warnings into errors
            # must not make a verb fail.
            warnings.simplefilter("ignore")
            invoke(_words(line) or ["--help"])
        return page if page.text else None
    return None


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"The line cannot be split into words: {error}.", hint="Check the quotes.") from None


@contextmanager
def _told_in_one_sentence() -> Iterator[None]:
    """An expected error is one line on standard error, as on the command line, and no traceback."""
    try:
        yield
    except MlopsError as error:
        print(f"mlops: {error}", file=sys.stderr)  # noqa: T201 - this is the surface


def _default_target(workspace: Workspace, session_id: str | None) -> str:
    rows = workspace.store.execute(
        "SELECT run_uid FROM runs WHERE session_id = ? AND deleted_at IS NULL ORDER BY seq DESC LIMIT 1", (session_id,)
    )
    if rows:
        return f"run:{rows[0][0]}"
    rows = workspace.store.execute(
        "SELECT execution_id FROM executions WHERE session_id = ? ORDER BY position DESC LIMIT 1", (session_id,)
    )
    if rows:
        return f"cell:{rows[0][0]}"
    raise UsageError("Nothing was recorded in this session yet.", hint="%lineage NAME after a cell has run")


def _complete_mlops(shell: InteractiveShell, event: Any) -> list[str]:  # noqa: ARG001 - IPython's signature
    """Completion of verbs, sub-verbs and flags from the command line's own definition."""
    import click

    from mlops_jupyter.cli import cli

    words = event.line[: len(event.line)].split()[1:]
    command: click.Command = cli
    context = click.Context(cli)
    for word in words:
        if isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                break
            command = found
    names = list(command.list_commands(context)) if isinstance(command, click.Group) else []
    flags = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
    return names + flags
