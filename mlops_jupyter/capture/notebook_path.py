"""Which notebook a kernel serves, and who works in it: told by the environment, never by asking a server."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def notebook_path(root: Path, environ: Mapping[str, str], namespace: Mapping[str, Any]) -> str | None:
    """Workspace-relative path of the notebook, ``/``-separated, or None where nothing tells it.

    ``MLOPS_NOTEBOOK`` (already relative to ``root``), VS Code's variable, Jupyter Server's
    ``JPY_SESSION_NAME``. A notebook outside of the workspace keeps its absolute path.
    """
    given = environ.get("MLOPS_NOTEBOOK")
    if given:
        return _relative(root / given, root)
    vscode = namespace.get("__vsc_ipynb_file__")
    if type(vscode) is str and vscode:
        return _relative(Path(vscode), root)
    jupyter = environ.get("JPY_SESSION_NAME")
    if jupyter and jupyter.endswith(".ipynb"):
        path = Path(jupyter)
        if path.is_absolute():
            return _relative(path, root)
        # Some servers give the path below their own root folder, which the kernel does not know: take the
        # ancestor of the current folder (where Jupyter starts the kernel) under which the file is there.
        for folder in (Path.cwd(), *Path.cwd().parents):
            if (folder / path).is_file():
                return _relative(folder / path, root)
        return _relative(Path.cwd() / path.name, root)
    return None


def _relative(path: Path, root: Path) -> str:
    absolute = Path(os.path.normpath(path))
    for base in (root, root.resolve()):
        for candidate in (absolute, absolute.resolve()):
            if candidate.is_relative_to(base):
                return candidate.relative_to(base).as_posix()
    return absolute.as_posix()


def actor(root: Path, environ: Mapping[str, str]) -> str:
    """Who works here: Jupyter's identity, else the e-mail that git is set to, else the user of the system."""
    for name in ("JUPYTERHUB_USER", "GIT_AUTHOR_EMAIL", "EMAIL"):
        if environ.get(name):
            return environ[name]
    home = Path(environ.get("HOME", "~")).expanduser()
    base = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    candidates = [folder / ".git" / "config" for folder in (root, *root.parents)]
    for path in (*candidates, home / ".gitconfig", base / "git" / "config"):
        email = _git_email(path)
        if email:
            return email
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _git_email(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    section = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]").strip().lower()
        elif section == "user":
            key, equals, value = line.partition("=")
            if equals and key.strip().lower() == "email":
                return value.strip().strip('"') or None
    return None
