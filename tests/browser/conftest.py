"""A real JupyterLab on loopback with the built extension, and Chromium to look at it.

Every folder that Jupyter reads or writes is the test's own, so neither the machine's settings nor other extensions
take part. The extension is linked into the data path: what the tests see is what was built last.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

STRICT = os.environ.get("MLOPS_TEST_STRICT") == "1"
REPOSITORY = Path(__file__).resolve().parents[2]
BUILT = REPOSITORY / "mlops_jupyter" / "labextension"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def unavailable(reason: str) -> NoReturn:
    """Skip, or fail where everything has to be tested."""
    if STRICT:
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    """With the token's query."""
    token: str
    root: Path
    """Folder of the notebooks; a workspace of its own."""

    def open(self, path: str = "", *, workspace: str = "test") -> str:
        """Address of a notebook, in a fresh arrangement of the screen."""
        tree = f"/tree/{path}" if path else ""
        return f"{self.url}/lab/workspaces/{workspace}{tree}?token={self.token}&reset"


@pytest.fixture(scope="session")
def jupyter_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config, data and runtime folders of Jupyter, with our extension enabled on both sides."""
    if not (BUILT / "package.json").exists():
        unavailable("the JupyterLab extension is not built: npm ci && npm run build:prod")
    home = tmp_path_factory.mktemp("jupyter")
    extensions = home / "data" / "labextensions"
    extensions.mkdir(parents=True)
    (extensions / "mlops-jupyter").symlink_to(BUILT)
    config = home / "config"
    shutil.copytree(REPOSITORY / "jupyter-config" / "server-config", config / "jupyter_server_config.d")
    labconfig = config / "labconfig"
    labconfig.mkdir()
    (labconfig / "page_config.json").write_text(
        json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    )
    kernel = home / "data" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
            }
        )
    )
    return home


@pytest.fixture(scope="session")
def jupyter_environment(jupyter_home: Path) -> dict[str, str]:
    """Environment of the server and its kernels."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "MLOPS", "MLFLOW", "JPY_"))}
    search = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **keep,
        "HOME": str(jupyter_home),
        "JUPYTER_CONFIG_DIR": str(jupyter_home / "config"),
        "JUPYTER_CONFIG_PATH": str(jupyter_home / "config"),
        "JUPYTER_DATA_DIR": str(jupyter_home / "data"),
        "JUPYTER_PATH": str(jupyter_home / "data"),
        "JUPYTER_RUNTIME_DIR": str(jupyter_home / "runtime"),
        "JUPYTERLAB_WORKSPACES_DIR": str(jupyter_home / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(jupyter_home / "settings"),
        "IPYTHONDIR": str(jupyter_home / "ipython"),
        "MPLCONFIGDIR": str(jupyter_home / "matplotlib"),
        "MLOPS_DELIVER": os.environ.get("MLOPS_TEST_DELIVER", "false"),
        "PYTHONPATH": os.pathsep.join(search),
    }


@pytest.fixture
def lab(tmp_path: Path, jupyter_home: Path, jupyter_environment: dict[str, str]) -> Iterator[Lab]:
    """JupyterLab over an empty folder, stopped with its kernels behind the test."""
    root = tmp_path / "flights"
    root.mkdir()
    (root / "mlops.toml").touch()
    token = secrets.token_hex(16)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "lab.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
                "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}",
                "--ServerApp.base_url=/user/me/", "--expose-app-in-browser",
            ],
            cwd=root, env=jupyter_environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}/user/me"
    try:
        _wait_for(f"{url}/api/status?token={token}", process, log)
        yield Lab(url=url, token=token, root=root)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """The browser; one for all tests."""
    sync_api = pytest.importorskip("playwright.sync_api") if not STRICT else __import__("playwright.sync_api").sync_api
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        unavailable("there is no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@dataclass
class Console:
    """What the page wrote into its console, errors and warnings."""

    lines: list[str]

    def ours(self) -> list[str]:
        """Those that name us."""
        return [line for line in self.lines if re.search(r"mlops", line, re.IGNORECASE)]


@pytest.fixture
def page(chromium: object, tmp_path: Path) -> Iterator[object]:
    """A page of a README picture's size; how it looked at the end is kept in the test's folder."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, device_scale_factor=1)  # type: ignore[attr-defined]
    context.set_default_timeout(int(os.environ.get("MLOPS_TEST_BROWSER_TIMEOUT", "30000")))
    opened = context.new_page()
    yield opened
    opened.screenshot(path=tmp_path / "end.png")
    context.close()


@pytest.fixture
def console(page: object) -> Console:
    """Collects from before the first load."""
    seen = Console([])
    page.on(  # type: ignore[attr-defined]
        "console", lambda message: seen.lines.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: seen.lines.append(f"mlops? uncaught: {error}"))  # type: ignore[attr-defined]
    return seen


Write = Callable[[str, list[str]], Path]


@pytest.fixture
def write_notebook(lab: Lab) -> Write:
    """``write_notebook("a.ipynb", [source, …])``: a notebook in the server's root."""
    import nbformat

    def write(name: str, sources: list[str]) -> Path:
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in sources],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}},
        )
        path = lab.root / name
        nbformat.write(notebook, path)
        return path

    return write
