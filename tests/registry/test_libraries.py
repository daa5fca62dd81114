"""A model of another library is saved in the format that MLflow has for it, where that holds the same model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mlops_jupyter.workspace import Workspace
from tests.tracking.workspaces import child_environment

PROGRAM = """
import json, sys
from pathlib import Path
import lightgbm, mlflow
from mlops_jupyter.store import open_workspace_store
from mlops_jupyter.verbs.register import register
from mlops_jupyter.workspace import Workspace
from tests.registry.fitted import X, Y, record_run
from tests.tracking.workspaces import settings_of

settings = settings_of(Path(sys.argv[1]))
workspace = Workspace(settings, open_workspace_store(settings))
model = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=1, verbose=-1).fit(X, Y)
run = record_run(settings, workspace.store, {"model": model})
document = register(workspace, run, name="boosted")
native = mlflow.lightgbm.load_model(document["source"])
generic = mlflow.pyfunc.load_model(document["source"])
print(json.dumps({
    "document": document,
    "class": type(native).__name__,
    "same": bool((native.predict(X) == model.predict(X)).all() and (generic.predict(X) == model.predict(X)).all()),
}))
"""


@pytest.fixture(scope="module")
def lightgbm_folder() -> Path:
    """LightGBM in a folder of its own, kept between test runs."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    assert uv, "uv brings LightGBM; it is in the test group"
    place = (
        Path(tempfile.gettempdir()) / f"mlops-lightgbm-{os.getuid()}-{sys.version_info.major}{sys.version_info.minor}"
    )
    if not (place / "ready").exists():
        command = [
            uv,
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--python",
            sys.executable,
            "--target",
            str(place),
            "lightgbm",
        ]
        subprocess.run(command, check=True, timeout=200)
        (place / "ready").touch()
    return place


@pytest.mark.peer
def test_lightgbm(workspace: Workspace, lightgbm_folder: Path) -> None:
    environ = child_environment()
    environ["PYTHONPATH"] += f"{os.pathsep}{lightgbm_folder}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(workspace.settings.root)],
        capture_output=True, text=True, timeout=120, env=environ, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["same"]
    assert result["class"] == "LGBMClassifier"
    assert (result["document"]["flavor"], result["document"]["load"][:15]) == ("lightgbm", "mlflow.lightgbm")
    assert {"lightgbm", "skops"} < {r.split("==")[0] for r in result["document"]["requirements"]}
