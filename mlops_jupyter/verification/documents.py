"""The notebooks that a verification replays. Pure."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from mlops_jupyter.entities import ExecutionStatus
from mlops_jupyter.notebook import GatheredSlice

from .reasons import python_lines

_PATH = re.compile(r"(?!/)[^\x00-\x1f<>|\"]{1,255}")
_TRACK = re.compile(r"\s*%%track(?![\w?])([^\n?]*)")


def slice_notebook(found: GatheredSlice, sources: Mapping[str, str], converted: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded cells as they ran, in their order, each with the id of its execution."""
    cells: list[dict[str, Any]] = []
    for number, execution in enumerate(found.kept):
        source = sources[execution.execution_id]
        if not source.strip():
            continue
        ours: dict[str, Any] = {"execution_id": execution.execution_id, "cell_id": execution.cell_id}
        track = track_of(execution.source)
        if track is not None:
            ours["track"] = track
        failed = execution.status is not ExecutionStatus.OK
        cells.append(
            {
                "cell_type": "code",
                "id": hashlib.sha256(f"{number}\n{execution.execution_id}".encode()).hexdigest()[:12],
                "metadata": {"mlops": ours, "tags": ["raises-exception"] if failed else []},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
        )
    kernel = converted.get("metadata", {}).get("kernelspec")
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel} if isinstance(kernel, Mapping) else {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def track_of(source: str) -> str | None:
    """The words after ``%%track`` in a cell's text; None where it was not tracked so."""
    found = _TRACK.match(source)
    return None if found is None else found[1].strip()


def parameter_schemas(converted: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Schema of each parameter of a converted notebook by name."""
    ours = converted.get("metadata", {}).get("mlops", {})
    schema = ours.get("parameters") if isinstance(ours, Mapping) else None
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return {}
    return {str(name): each for name, each in properties.items() if isinstance(each, Mapping)}


def converted_parameters(converted: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that can be given, at their defaults."""
    return {name: each["default"] for name, each in parameter_schemas(converted).items() if "default" in each}


def path_literals(source: str) -> tuple[str, ...]:
    """Texts in a cell that may be relative paths of files or folders, or patterns for them."""
    try:
        tree = ast.parse(python_lines(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    texts = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return tuple(dict.fromkeys(t for t in texts if _PATH.fullmatch(t) and t.strip("./~")))
