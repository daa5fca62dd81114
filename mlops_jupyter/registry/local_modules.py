"""Modules of the workspace that a model's classes come from: their files travel with it. Imports none of them."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from mlops_jupyter.errors import UsageError

_SIZE_LIMIT = 16 * 1024 * 1024
"""Bytes of code that travel with one model."""


@dataclass(frozen=True, slots=True)
class LocalCode:
    """Files by the path under which Python finds them (``features.py``, ``features/clean.py``)."""

    files: Mapping[str, bytes] = field(default_factory=dict)


def find_local(modules: Collection[str], folders: Sequence[Path]) -> LocalCode:
    """Files of the top-level modules and packages among ``modules`` that lie in ``folders``, first come first served.

    Raises:
        UsageError: a module is in none of the folders and is not installed either; or there is too much code.
    """
    files: dict[str, bytes] = {}
    for top in sorted({module.partition(".")[0] for module in modules} - {"__main__", "?", "", "builtins"}):
        if top in sys.builtin_module_names or top in sys.stdlib_module_names:
            continue
        found = _in_folders(top, folders)
        if found is not None:
            files |= found
        elif not _installed(top):
            raise UsageError(
                f"The model is made of classes of the module {top!r}, which is neither installed nor in the workspace.",
                hint="Put the module beside the notebook, or install it, then register again.",
            )
    if sum(map(len, files.values())) > _SIZE_LIMIT:
        raise UsageError(
            f"The local modules of the model have more than {_SIZE_LIMIT // 1024**2} MiB of code.",
            hint="Put its classes into a smaller package, or install it.",
        )
    return LocalCode(files)


def _in_folders(top: str, folders: Sequence[Path]) -> dict[str, bytes] | None:
    for folder in folders:
        module, package = folder / f"{top}.py", folder / top
        if module.is_file():
            return {f"{top}.py": module.read_bytes()}
        if (package / "__init__.py").is_file():
            return {
                f"{top}/{file.relative_to(package).as_posix()}": file.read_bytes()
                for file in sorted(package.rglob("*.py"))
                if file.resolve().is_relative_to(package.resolve())
            }
    return None


def _installed(top: str) -> bool:
    """Whether a module can be found, without importing it."""
    if top in sys.modules:
        return True
    try:
        return PathFinder.find_spec(top) is not None
    except (ImportError, ValueError):
        return False
