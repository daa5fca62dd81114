"""The process of one replay: confines itself to the scratch, runs the notebook there, says how it went.

``python -m mlops_jupyter.verification.child REQUEST.json``: a line of JSON on standard output for each cell, and
``result.json`` beside the request at the end. Its environment says where the store of the replay is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_jupyter.config import Settings, load_settings
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.store import Connection, open_workspace_store

from .confine import allowed_folders, confine, die_with_parent


@dataclass(frozen=True, slots=True)
class _Workspace:
    settings: Settings
    store: Connection


def main(request_file: Path) -> int:
    """Do what the request says."""
    die_with_parent(signal.SIGTERM)
    request = json.loads(request_file.read_text(encoding="utf-8"))
    if os.getppid() != request["parent"]:  # the parent ended before it was watched
        return 1
    folders = allowed_folders(Path(request["scratch"]), protected=Path(request["protected"]))
    confined = confine(folders)
    if not confined:  # then the kernel itself does what it can
        os.environ["MLOPS_REPLAY_FOLDER"] = request["scratch"]
        os.environ["MLOPS_REPLAY_MAY_WRITE"] = os.pathsep.join(map(str, folders))
    result: dict[str, Any] = {"confined": confined}
    try:
        result |= _run(request)
    except MlopsError as error:
        result |= {"state": "failed", "exit_code": error.exit_code, "error": str(error), "cells": []}
    part = request_file.with_name("result.part")
    part.write_text(json.dumps(result), encoding="utf-8")
    part.replace(request_file.with_name("result.json"))
    return 0


def _run(request: dict[str, Any]) -> dict[str, Any]:
    from mlops_jupyter.runner import run_notebook

    def on_cell(index: int, total: int, state: str, preview: str, /) -> None:
        if state == "running":
            sys.stdout.write(json.dumps({"cell": index + 1, "of": total, "text": preview}) + "\n")
            sys.stdout.flush()

    settings = load_settings(Path(request["cwd"]))
    store = open_workspace_store(settings)
    try:
        result = run_notebook(
            _Workspace(settings, store),
            Path(request["notebook"]),
            Path(request["output"]),
            parameters=request["parameters"],
            timeout=request["timeout"],
            cwd=Path(request["cwd"]),
            on_cell=on_cell,
        )
    finally:
        store.close()
    failed = result.failed_cell
    return {
        "state": str(result.state),
        "exit_code": result.exit_code,
        "error": result.error,
        "failed_cell": None if failed is None else failed.cell_id,
        "lineage": result.lineage,
        "warnings": list(result.warnings),
        "cells": [{"cell_id": cell.cell_id, "state": str(cell.state)} for cell in result.cells],
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
