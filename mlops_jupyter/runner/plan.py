"""What a headless run needs, checked before anything is started: bad input ends here with nothing written."""

from __future__ import annotations

import os
import re
import stat
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from nbformat import NotebookNode

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import RunUid
from mlops_jupyter.errors import UsageError

from .constraints import check_limits, schema_properties
from .document import read_notebook
from .kernel import kernel_language
from .parameters import (
    PARAMETERS_TAG,
    Parameter,
    check_values,
    default_references,
    described,
    effective_values,
    infer_parameters,
    inject,
    read_values,
    tagged_cell,
)
from .record import part_file
from .references import check_references, read_by_code, variables
from .tracked import untrackable


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that was checked before anything is started."""

    run_uid: RunUid
    notebook: Path
    output: Path
    folder: Path
    cwd: Path
    document: NotebookNode
    kernel_name: str
    specs: KernelSpecManager
    is_python: bool
    parameters: list[Parameter]
    given: dict[str, Any]
    values: dict[str, Any]
    secrets: tuple[str, ...] = ()
    """Environment variables that parameters refer to."""
    warnings: list[str] = field(default_factory=list)


def make_plan(
    settings: Settings,
    notebook: Path,
    out: Path | None,
    parameters: Iterable[tuple[str, str]] | Mapping[str, Any],
    files: Iterable[Path],
    texts: Iterable[str],
    cwd: Path | None,
) -> Plan:
    """Check everything that can be checked. Raises as ``run_notebook``."""
    notebook = Path(notebook)
    document = read_notebook(notebook)
    notebook = notebook.absolute()
    warnings: list[str] = []
    name = _kernel_name(notebook, document)
    if name is None:
        name = "python3"
        warnings.append("The notebook names no kernel; python3 was used.")
    warnings += untrackable(document)
    specs = KernelSpecManager()
    is_python = kernel_language(name, specs) == "python"
    pairs = () if isinstance(parameters, Mapping) else parameters
    given = read_values(files=files, texts=texts, pairs=pairs)
    given.update(parameters if isinstance(parameters, Mapping) else {})
    known, checked = _parameters(notebook, document, given, is_python=is_python)
    injected = {**default_references(known), **checked}
    warnings += check_references(injected)
    run_uid = RunUid(uuid.uuid4().hex)
    folder = settings.runs / run_uid
    if injected:
        inject(document, injected)
    read = read_by_code(cell.source for cell in document.cells if cell.cell_type == "code") if is_python else ()
    return Plan(
        run_uid=run_uid, notebook=notebook, output=_output(notebook, out, folder, run_uid), folder=folder,
        cwd=_cwd(notebook, cwd), document=document, kernel_name=name, specs=specs, is_python=is_python,
        parameters=known, given=checked, values=effective_values(known, checked), warnings=warnings,
        secrets=tuple(dict.fromkeys((*variables(injected), *read))),
    )  # fmt: skip


def _kernel_name(notebook: Path, document: NotebookNode) -> str | None:
    """The kernel that the notebook names, or None.

    Raises:
        UsageError: it names something that is no name, or no kernel though it is written in another language.
    """
    spec = document.metadata.get("kernelspec") or {}
    name = spec.get("name") if isinstance(spec, dict) else spec
    if name and not (isinstance(spec, dict) and isinstance(name, str)):
        raise UsageError(
            f"{notebook.name} is not a valid notebook: metadata.kernelspec.name must be text.",
            hint="Choose a kernel for it in JupyterLab and save it.",
        )
    language = (document.metadata.get("language_info") or {}) if not name else {}
    language = language.get("name") if isinstance(language, dict) else None
    if isinstance(language, str) and language.lower() not in ("", "python", "ipython"):
        raise UsageError(
            f"{notebook.name} names no kernel and is written in {language[:40]!r}.",
            hint="Choose a kernel for it in JupyterLab and save it.",
        )
    if not name:
        return None
    if not isinstance(spec.get("display_name"), str):
        spec["display_name"] = name  # nbformat wants one
    return str(name)


def _parameters(
    notebook: Path, document: NotebookNode, given: Mapping[str, Any], *, is_python: bool
) -> tuple[list[Parameter], dict[str, Any]]:
    index = tagged_cell(document, PARAMETERS_TAG)
    if given and not is_python:
        raise UsageError(
            "Parameters can only be given to Python notebooks.",
            hint="Use: papermill --engine mlops IN OUT -p …",
        )
    if given and index is None:
        raise UsageError(
            f"{notebook.name} has no parameters cell, so it takes no parameter {next(iter(given))!r}.",
            hint='Give the cell that assigns them the tag "parameters" (cell toolbar: Property Inspector, Cell Tags).',
        )
    if index is None or not is_python:
        return [], {}
    properties = schema_properties(document)
    try:
        known = described(infer_parameters(document.cells[index].source), properties)
    except UsageError:
        if given:
            raise
        return [], {}  # the cell will raise its own SyntaxError
    checked = check_values(known, given)
    check_limits(checked, properties)
    return known, checked


def _output(notebook: Path, out: Path | None, folder: Path, run_uid: str) -> Path:
    """Where the executed notebook goes; checked by writing beside it."""
    if out is None:
        return folder / notebook.name
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(out)):  # a Path has one slash less than the URL had
        raise UsageError(f"The output {str(out)!r} must be a local file.", hint="Copy it afterwards.")
    try:
        path = Path(os.path.realpath(Path(out).absolute()))  # a link keeps pointing to what is replaced
        there = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        there = stat.S_IFREG
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"The output {str(out)[:200]!r} cannot be: {reason}.", hint="Name another file.") from None
    if there == stat.S_IFDIR:
        raise UsageError(f"The output {out} is a folder.", hint=f"Name a file in it: {Path(out) / notebook.name}")
    if there != stat.S_IFREG:
        raise UsageError(f"The output {out} is no regular file.", hint="Name another file; nothing was changed.")
    if path == Path(os.path.realpath(notebook)) or (path.exists() and path.samefile(notebook)):
        raise UsageError(f"The output {out} is the notebook itself.", hint="Name another file; nothing was changed.")
    if not path.parent.is_dir():
        raise UsageError(f"The output folder {path.parent} does not exist.", hint="Create it first.")
    probe = part_file(path, run_uid)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"The output folder {path.parent} cannot be written: {error.strerror or error}.",
            hint="Make it writable or name another output.",
        ) from None
    return path


def _cwd(notebook: Path, cwd: Path | None) -> Path:
    folder = notebook.parent if cwd is None else Path(cwd).absolute()
    if not folder.is_dir():
        raise UsageError(f"The working folder {cwd} does not exist.")
    return folder
