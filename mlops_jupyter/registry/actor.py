"""Who does something that is written into the audit record, and how that is known."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from mlops_jupyter.capture.notebook_path import actor as named_actor
from mlops_jupyter.store import Connection


def actor(control: Connection, root: Path) -> tuple[str, str]:
    """Name and source (``postgresql``, ``jupyter``, ``git``, ``os``) of whoever acts here."""
    if control.dialect == "postgresql":
        ((user,),) = control.execute("SELECT current_user")
        return str(user), "postgresql"
    name = named_actor(root, os.environ)
    if os.environ.get("JUPYTERHUB_USER") == name:
        return name, "jupyter"
    try:
        return name, "os" if name == getpass.getuser() else "git"
    except (OSError, KeyError):
        return name, "git"
