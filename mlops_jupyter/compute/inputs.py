"""What travels with a notebook: the files that it reads and the modules beside it, found rather than listed."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.store import Connection

_LEFT_OUT = frozenset({".mlops", ".git", "__pycache__", ".ipynb_checkpoints", "node_modules"})
_LITERAL_LIMIT = 1000
"""Characters: a longer text is no path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One file that travels."""

    path: str
    """Relative to the workspace, ``/``-separated."""
    source: Path
    size: int
    reason: str
    """``notebook``, ``module``, ``read before``, ``named in the notebook``, ``parameter`` or ``included``."""


def find_inputs(
    store: Connection,
    root: Path,
    notebook: Path,
    cells: Sequence[str],
    *,
    values: Iterable[object] = (),
    include: Iterable[Path] = (),
) -> list[Input]:
    """The notebook and everything that it needs from the workspace.

    Files that cells of the notebook read when they were recorded; files that a text in the code names; files that a
    parameter's value names; modules of the workspace that the code imports, and what those import; what ``include``
    names, folders with all in them.

    Raises:
        TargetNotFoundError: something in ``include`` does not exist.
        UsageError: something in ``include`` lies outside of the workspace.
    """
    found: dict[str, Input] = {}

    def add(path: Path, reason: str) -> bool:
        name = relative_name(root, path)
        if name is None or not os.path.isfile(path):  # noqa: PTH113 - False for a name that is too long, no error
            return False
        found.setdefault(name, Input(path=name, source=path, size=path.stat().st_size, reason=reason))
        return True

    add(notebook, "notebook")
    folder = notebook.parent
    for path in include:
        _include(root, Path(os.path.normpath(Path.cwd() / Path(path).expanduser())), add)
    for name in recorded_reads(store, relative_name(root, notebook) or ""):
        add(root / name, "read before")
    trees = [tree for tree in map(_parse, cells) if tree is not None]
    for tree in trees:
        for text in _texts(tree):
            add(Path(os.path.normpath(folder / text)), "named in the notebook")
    for value in values:
        if isinstance(value, str) and _may_be_path(value):
            add(Path(os.path.normpath(folder / value)), "parameter")
    for module in _modules(trees, (folder, root)):
        add(module, "module")
    return list(found.values())


def relative_name(root: Path, path: Path) -> str | None:
    """``path`` relative to the workspace, or None where it lies outside or in what is left out."""
    try:
        inside = path.relative_to(root)
    except ValueError:
        return None
    return None if not inside.parts or set(inside.parts) & _LEFT_OUT or ".." in inside.parts else inside.as_posix()


def safe_place(folder: Path, name: str) -> Path:
    """Where a file of that name goes below ``folder``.

    Raises:
        UsageError: a name that leads out of the folder.
    """
    pure = PurePosixPath(name)
    if pure.is_absolute() or not pure.parts or ".." in pure.parts or "\0" in name or "\\" in name:
        raise UsageError(f"{name!r} is no path inside a workspace.")
    return folder / pure


def recorded_reads(store: Connection, notebook: str) -> list[str]:
    """Files of the workspace that recorded cells of the notebook read and that no cell of it had written."""
    rows = store.execute(
        "SELECT DISTINCT v.name FROM executions e JOIN uses u ON u.execution_id = e.execution_id "
        "JOIN versions v ON v.version_id = u.version_id LEFT JOIN executions w ON w.execution_id = v.execution_id "
        "WHERE e.notebook = ? AND v.kind = 'file' AND (w.notebook IS NULL OR w.notebook <> e.notebook) ORDER BY v.name",
        (notebook,),
    )
    return [name for (name,) in rows if "://" not in name and not PurePosixPath(name).is_absolute()]


def _include(root: Path, path: Path, add: Callable[[Path, str], bool]) -> None:
    if not path.exists():
        raise TargetNotFoundError(f"There is no file or folder {str(path)!r} to include.")
    if not path.is_relative_to(root):
        raise UsageError(
            f"{path} lies outside of the workspace {root}, so a job cannot have it under its name.",
            hint="Copy it into the workspace.",
        )
    for file in [path] if path.is_file() else _files(path):
        add(file, "included")


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _LEFT_OUT:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        elif path.is_file():
            yield path


def _parse(source: str) -> ast.Module | None:
    lines = source.splitlines()
    if lines and lines[0].startswith("%%"):
        magic, lines = lines[0], lines[1:]
        if magic.split()[0] not in {"%%track", "%%time", "%%timeit", "%%capture", "%%prun"}:
            return None
    kept = [line if not line.lstrip().startswith(("%", "!", "?")) else _blanked(line) for line in lines]
    try:
        return ast.parse("\n".join(kept))
    except (SyntaxError, ValueError, RecursionError):
        return None


def _blanked(line: str) -> str:
    """A statement that does nothing at the same indentation, so that a block stays one."""
    return line[: len(line) - len(line.lstrip())] + "pass"


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _may_be_path(node.value):
            yield node.value


def _may_be_path(text: str) -> bool:
    return 0 < len(text) <= _LITERAL_LIMIT and "\n" not in text and "\0" not in text and "://" not in text


def _modules(trees: Iterable[ast.AST], folders: Sequence[Path]) -> list[Path]:
    """Files of the modules that the code imports from these folders, with what they import in turn."""
    found: dict[Path, None] = {}
    todo = [(name, folders) for tree in trees for name in _imported(tree)]
    seen: set[str] = set()
    while todo:
        name, places = todo.pop()
        top = name.partition(".")[0]
        if top in seen:
            continue
        seen.add(top)
        for place in places:
            files = _module_files(place, top)
            if not files:
                continue
            for path in files:
                found[path] = None
                tree = _parse_file(path) if path.suffix == ".py" else None
                todo += [(inner, folders) for inner in (_imported(tree) if tree is not None else ())]
            break
    return list(found)


def _module_files(folder: Path, name: str) -> list[Path]:
    single, package = folder / f"{name}.py", folder / name
    if (package / "__init__.py").is_file():
        return list(_files(package))
    return [single] if single.is_file() else []


def _parse_file(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _imported(tree: ast.AST) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.append(node.module)
    return names
