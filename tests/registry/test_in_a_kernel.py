"""``%mlops register`` in a real kernel: a tracked cell's model becomes a version, and the kernel goes on as before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from tests.tracking.workspaces import child_environment

CODE = """
%load_ext mlops_jupyter
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
X, y = load_iris(return_X_y=True, as_frame=True)
"""
TRACKED = """%%track
model = LogisticRegression(max_iter=500).fit(X, y)
score = model.score(X, y)
"""


class Kernel:
    def __init__(self, folder: Path) -> None:
        environ = child_environment(MLOPS_HOME=str(folder / ".mlops"), MLOPS_DELIVER="false")
        self.manager, self.client = start_new_kernel(cwd=str(folder), env=environ)

    def run(self, code: str) -> str:
        """What the cell printed or displayed; raises where it failed."""
        texts: list[str] = []

        def note(message: dict) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                texts.append(content["text"])
            elif message["msg_type"] in ("execute_result", "display_data"):
                texts.append(content["data"].get("text/plain", ""))

        reply = self.client.execute_interactive(code, timeout=120, output_hook=note)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "\n".join(texts)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    started = Kernel(tmp_path_factory.mktemp("kernel"))
    yield started
    started.client.stop_channels()
    started.manager.shutdown_kernel(now=True)


def test_a_tracked_model_is_registered_from_its_notebook(kernel: Kernel) -> None:
    kernel.run(CODE)
    kernel.run(TRACKED)
    listed = kernel.run("%mlops runs list")
    run = re.search(r"\b[0-9a-f]{8}\b", listed)
    assert run, listed
    shown = kernel.run(f"%mlops register {run[0]} --name iris -m 'from a kernel'")
    assert "Registered iris version 1" in shown
    assert "sklearn (skops)" in shown
    assert "Registered before: iris version 1" in kernel.run(f"%mlops register {run[0]} --name iris")
    assert "iris" in kernel.run("%mlops models")
    assert "LogisticRegression" in kernel.run("%mlops models show iris/1")
    assert "model" in kernel.run("%lineage model:iris/1")
    told = kernel.run("%mlops register nosuchrun --name iris")
    assert "neither a run nor a file" in told
    assert kernel.run("print(type(model).__name__, score > 0.9)").strip() == "LogisticRegression True"
