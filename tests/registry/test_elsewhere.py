"""The registry on a server, and a registered model where this package is not installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_jupyter.store import open_workspace_store
from mlops_jupyter.verbs.lineage import lineage
from mlops_jupyter.verbs.models import models_show
from mlops_jupyter.verbs.register import register
from mlops_jupyter.workspace import Workspace
from tests.schemas import check
from tests.tracking.servers import MlflowServer
from tests.tracking.workspaces import settings_of

from .fitted import PINNED, X, classifier, record_run


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[MlflowServer]:
    found = MlflowServer(tmp_path_factory.mktemp("server"), template)
    found.start()
    yield found
    found.stop()


@pytest.mark.server
def test_a_server_over_http(server: MlflowServer, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, MLFLOW_TRACKING_URI=server.url)
    store = open_workspace_store(settings)
    workspace = Workspace(settings, store)
    fitted = classifier()
    run = record_run(settings, store, {"clf": fitted})
    document = register(workspace, run, name="delay", description="über HTTP")
    check(document, "register")
    assert (document["version"], document["registry_uri"]) == (1, server.url)
    assert register(workspace, run, name="delay")["created"] is False
    shown = models_show(workspace, "delay/1")
    assert (shown["versions"][0]["run_id"], shown["versions"][0]["description"]) == (run, "über HTTP")
    program = (
        "import mlflow, json; m = mlflow.pyfunc.load_model('models:/delay/1'); "
        f"print(json.dumps(m.predict(__import__('numpy').array({X.tolist()})).tolist()))"
    )
    assert json.loads(python(sys.executable, program, tmp_path, server.url)) == fitted.predict(X).tolist()
    # Another workspace, which has no mirror of it, asks the server.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other_settings = settings_of(elsewhere, MLFLOW_TRACKING_URI=server.url)
    other = open_workspace_store(other_settings)
    with pytest.raises(LookupError, match="Nothing recorded here made model:delay/1"):
        lineage(Workspace(other_settings, other), "model:delay/1")
    other.close()
    store.execute("DELETE FROM registrations")
    assert any(node.id == f"run:{run}" for node in lineage(workspace, "model:delay/1").nodes)
    store.close()


def python(interpreter: str | Path, program: str, folder: Path, uri: str) -> str:
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": uri}
    done = subprocess.run(
        [str(interpreter), "-W", "ignore", "-c", program],
        capture_output=True, text=True, timeout=200, cwd=folder, env=environ, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def clean_environment_of() -> Any:
    """A function that makes an environment with only what a ``requirements.txt`` lists; kept between test runs."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    assert uv, "uv makes the clean environment; it is in the test group"

    def make(requirements: Path) -> Path:
        import hashlib
        import tempfile

        key = hashlib.sha256(f"{sys.version}{requirements.read_text()}".encode()).hexdigest()[:16]
        place = Path(tempfile.gettempdir()) / f"mlops-clean-{os.getuid()}-{key}"
        interpreter = place / "bin" / "python"
        if not (place / "ready").exists():
            subprocess.run(
                [uv, "venv", "-q", "--clear", "--python", sys.executable, str(place)], check=True, timeout=60
            )
            subprocess.run(
                [uv, "pip", "install", "-q", "--python", str(interpreter), "-r", str(requirements)],
                check=True,
                timeout=280,
            )
            (place / "ready").touch()
        return interpreter

    return make


@pytest.mark.peer
def test_it_loads_with_its_own_requirements_alone(workspace: Workspace, clean_environment_of: Any) -> None:
    fitted = classifier()
    run = record_run(workspace.settings, workspace.store, {"clf": fitted})
    document = register(workspace, run, name="delay")
    folder = Path(document["source"].removeprefix("file://"))
    assert set(PINNED) < set((folder / "requirements.txt").read_text().split())
    interpreter = clean_environment_of(folder / "requirements.txt")
    program = f"""
import importlib.util, json
import numpy as np, mlflow
assert importlib.util.find_spec("mlops_jupyter") is None
X = np.array({X.tolist()})
one = mlflow.sklearn.load_model("models:/delay/1").predict(X).tolist()
two = mlflow.pyfunc.load_model("models:/delay/1").predict(X).tolist()
print(json.dumps([one, two]))
"""
    expected = fitted.predict(X).tolist()
    found = json.loads(python(interpreter, program, workspace.settings.root, workspace.settings.tracking_uri))
    assert found == [expected, expected]
