"""``mlops doctor``: what works here and what is missing, each finding with what to do next."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from mlops_jupyter._version import __version__
from mlops_jupyter.config import Settings, is_network_filesystem, load_settings
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.store import Connection, is_held, open_workspace_store
from mlops_jupyter.store.delivery_process import delivery_lock

Status = Literal["ok", "warning", "failed", "absent"]
Check = dict[str, str]

_OPTIONAL = {
    "jupyterlab": ("the sidebar", "pip install jupyterlab"),
    "pandas": ("data frames", "pip install pandas"),
    "scikit-learn": ("models", "pip install scikit-learn"),
    "ray": ("mlops submit without --address", "pip install 'mlops-jupyter[ray]'"),
    "psycopg": ("the team's store on PostgreSQL", "pip install 'mlops-jupyter[postgres]'"),
}


def doctor(folder: Path) -> dict[str, Any]:
    """Check the workspace that ``folder`` belongs to.

    Returns ``{"version", "python", "platform", "root", "healthy", "checks": [{"name", "status", "detail", "hint"}]}``;
    ``healthy`` is false where a check failed. Raises nothing: what cannot be checked is a finding.
    """
    checks = [_check("python", "ok", f"{platform.python_version()} at {sys.executable}")]
    root = str(folder)
    try:
        settings = load_settings(folder)
    except MlopsError as error:
        checks.append(_check("settings", "failed", error.message, error.hint))
    else:
        root = str(settings.root)
        checks += _workspace_checks(settings)
    checks += _distribution_checks()
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "root": root,
        "healthy": all(check["status"] != "failed" for check in checks),
        "checks": checks,
    }


def _check(name: str, status: Status, detail: str, hint: str = "") -> Check:
    return {"name": name, "status": status, "detail": detail, "hint": hint}


def _workspace_checks(settings: Settings) -> Iterator[Check]:
    where = f"{settings.root} (state in {settings.state})"
    if settings.state != settings.home and is_network_filesystem(settings.home.parent):
        yield _check("workspace", "ok", f"{where}; the workspace is on a network file system")
    else:
        yield _check("workspace", "ok", where)
    try:
        store = open_workspace_store(settings)
    except MlopsError as error:
        yield _check("store", "failed", error.message, error.hint)
        return
    try:
        free = shutil.disk_usage(settings.state).free
        (count,) = store.execute("SELECT COUNT(*) FROM executions")[0]
        (runs,) = store.execute("SELECT COUNT(*) FROM runs WHERE deleted_at IS NULL")[0]
        yield _check("store", "ok", f"{count} executions, {runs} runs, {settings.database}")
        if free < 1 << 30:
            yield _check("disk", "warning", f"{free / 1e6:.0f} MB left", "Free some space, or run: mlops gc")
        yield from _guarded("capture", lambda: _faults(store))
        yield from _guarded("delivery", lambda: _delivery(settings, store))
    finally:
        store.close()
    yield _tracking(settings)
    yield _team(settings)


def _guarded(name: str, find: Callable[[], Check]) -> Iterator[Check]:
    try:
        yield find()
    except MlopsError as error:
        yield _check(name, "failed", error.message, error.hint)


def _faults(store: Connection) -> Check:
    rows = store.execute(
        "SELECT at, place, message FROM faults WHERE at > ? ORDER BY seq DESC LIMIT 1",
        (time.time() - 7 * 86400,),
    )
    if not rows:
        return _check("capture", "ok", "no fault in the last 7 days")
    at, place, message = rows[0]
    (count,) = store.execute("SELECT COUNT(*) FROM faults WHERE at > ?", (time.time() - 7 * 86400,))[0]
    last = time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    return _check(
        "capture",
        "warning",
        f"{count} faults in the last 7 days; the last at {last} in {place}: {message}",
        "The cells ran; what these cells recorded may be incomplete.",
    )


def _delivery(settings: Settings, store: Connection) -> Check:
    (letters,) = store.execute("SELECT COUNT(*) FROM dead_letters")[0]
    state = "running" if is_held(delivery_lock(settings)) else "not running (it starts by itself)"
    if letters:
        (last,) = store.execute("SELECT error FROM dead_letters ORDER BY seq DESC LIMIT 1")[0]
        return _check("delivery", "warning", f"{state}; {letters} records were refused: {last}", "mlops sync --json")
    return _check("delivery", "ok", state)


def _tracking(settings: Settings) -> Check:
    uri = without_credentials(settings.tracking_uri)
    if settings.embedded_mlflow:
        return _check("mlflow", "ok", f"embedded, {uri}")
    parts = urlsplit(settings.tracking_uri)
    if parts.scheme in ("http", "https"):
        import http.client

        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=5)
        try:
            connection.request("GET", f"{parts.path.rstrip('/')}/health")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return _check(
                "mlflow",
                "warning",
                f"{uri} does not answer: {error}",
                "Nothing is lost: it is delivered later.",
            )
        finally:
            connection.close()
        if status >= 400:
            return _check("mlflow", "warning", f"{uri}/health answers {status}", "Check MLFLOW_TRACKING_URI.")
    return _check("mlflow", "ok", uri)


def _team(settings: Settings) -> Check:
    if not settings.store_url:
        return _check("team store", "absent", "not set; control records are in the local store")
    from mlops_jupyter.store import control

    uri = without_credentials(settings.store_url)
    try:
        control.open_control(settings).close()
    except MlopsError as error:
        return _check("team store", "failed", error.message, error.hint)
    return _check("team store", "ok", uri)


def _distribution_checks() -> Iterator[Check]:
    for name in ("mlflow", "ipython", "ipykernel", "papermill", "nbclient"):
        yield (
            _check(name, "ok", _version(name) or "missing")
            if _version(name)
            else _check(name, "failed", "not installed", f"pip install {name}")
        )
    for name, (purpose, hint) in _OPTIONAL.items():
        found = _version(name)
        yield (_check(name, "ok", found) if found else _check(name, "absent", f"not installed; for {purpose}", hint))
    extension = _lab_extension()
    yield (
        _check("sidebar", "ok", extension)
        if extension
        else _check(
            "sidebar",
            "absent",
            "the JupyterLab extension is not installed",
            "pip install --force-reinstall mlops-jupyter",
        )
    )
    git = shutil.which("git")
    yield (_check("git", "ok", git) if git else _check("git", "absent", "commits cannot be recorded", "Install git."))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _lab_extension() -> str | None:
    roots = [Path(sys.prefix) / "share" / "jupyter"]
    roots += [Path(part) for part in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if part]
    for root in roots:
        folder = root / "labextensions" / "mlops-jupyter"
        if (folder / "package.json").is_file():
            return str(folder)
    return None


def without_credentials(uri: str) -> str:
    """``uri`` without user name and password, fit for showing."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
