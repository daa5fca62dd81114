"""Verifying what a conversion made, keeping what was found, and finding it again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from mlops_jupyter.entities import Digest
from mlops_jupyter.errors import TargetNotFoundError
from mlops_jupyter.notebook import GatheredSlice, read_notebook
from mlops_jupyter.notebook.refusals import texts_of
from mlops_jupyter.store.verifications import StoredVerification, add_verification, latest_verification
from mlops_jupyter.verification.result import TITLES
from mlops_jupyter.workspace import Workspace


def verify_conversion(
    workspace: Workspace,
    document: dict[str, Any],
    found: GatheredSlice,
    *,
    notebook: Path,
    out: Path,
    level: Literal["fast", "full"],
    budget: float | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Verify a converted ``document`` that is (to be) kept at ``out``, keep the result, and put the grade into the
    document's metadata.

    Returns:
        The result; fits ``verification.json``.
    """
    from mlops_jupyter.verification.verify import verify  # the runner's part, which only this needs

    result = verify(
        document, found, workspace=workspace, notebook=notebook, output=out, texts=_texts(notebook, found), level=level,
        budget=budget, on_progress=None if on_progress is None else _told(on_progress),
    )  # fmt: skip
    told = result.to_json()
    document["metadata"]["mlops"]["converted"]["grade"] = result.grade
    add_verification(
        workspace.store, notebook=_name(workspace, notebook), output=_name(workspace, out),
        digest=converted_digest(document), grade=result.grade, document=told,
    )  # fmt: skip
    return told


def stored_verification(workspace: Workspace, notebook: Path) -> StoredVerification | None:
    """What was last found of the converted notebook at ``notebook`` as it is now; None where it was changed since,
    or never verified.

    Raises:
        UsageError: it is no notebook.
        TargetNotFoundError: there is none.
    """
    read_notebook(notebook)  # says what is wrong with the file
    document = json.loads(notebook.read_text(encoding="utf-8-sig"))
    return latest_verification(workspace.store, digest=converted_digest(document))


def converted_digest(document: Mapping[str, Any]) -> Digest:
    """Digest of a notebook's code cells in their order: what a verification is about."""
    hasher = hashlib.sha256()
    for cell in document.get("cells", ()):
        if cell.get("cell_type") == "code":
            source = cell.get("source", "")
            text = source if isinstance(source, str) else "".join(source)
            hasher.update(f"{len(text)}\n{text}\n".encode("utf-8", "replace"))
    return Digest(f"sha256:{hasher.hexdigest()}")


def _texts(notebook: Path, found: GatheredSlice) -> dict[str, str]:
    try:
        original = read_notebook(notebook)
    except TargetNotFoundError:
        original = None
    return dict(texts_of(found, original))


def _told(tell: Callable[[str], None]) -> Callable[[str, int, int], None]:
    def told(check: str, number: int, of: int) -> None:
        name, _, parameter = check.partition("-")
        what = f"{TITLES.get(name, name)}" + (f" ({parameter})" if parameter else "")
        tell(f"{name} {what}: cell {number} of {of}")

    return told


def _name(workspace: Workspace, path: Path) -> str:
    root, real = os.path.realpath(workspace.settings.root), os.path.realpath(path.absolute())
    return Path(real).relative_to(root).as_posix() if Path(real).is_relative_to(root) else Path(real).as_posix()
