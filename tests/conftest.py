"""What all tests share: strict skips, a clean environment, and a way to be someone who may not write everywhere."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests._postgres import find_binaries, running_server

# A busy machine is no failure: no test asserts a time. What else is set (by CI=true, for one) stays.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

STRICT = os.environ.get("MLOPS_TEST_STRICT") == "1"

_SETTINGS = (
    "MLOPS_HOME", "MLOPS_STORE_URL", "MLOPS_DATA_URL", "MLOPS_EXPERIMENT", "MLOPS_STATE_DIR", "MLOPS_ORIGIN",
    "MLOPS_PARENT_RUN", "MLOPS_RUN_UID", "MLOPS_NOTEBOOK", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI",
    "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "MLFLOW_RUN_CONTEXT", "JPY_SESSION_NAME",
)  # fmt: skip


@pytest.fixture(scope="session")
def ipython_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IPython's profile and history of all tests, which is not that of whoever runs them."""
    return tmp_path_factory.mktemp("ipython")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, ipython_folder: Path) -> None:
    """No setting of the machine reaches a test, and no test leaves a delivery process behind unless it asks for one."""
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLOPS_DELIVER", "false")
    monkeypatch.setenv("IPYTHONDIR", str(ipython_folder))


@pytest.fixture(autouse=True)
def own_main_module() -> Iterator[None]:
    """A shell puts its user module in the place of ``__main__``; worker processes of later tests need the real one."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture
def without_privileges() -> Callable[[list[str]], list[str]]:
    """Turn a command into one for which file permissions hold, also where the tests run as root."""

    def prefixed(command: list[str]) -> list[str]:
        if os.geteuid() != 0:
            return command
        setpriv = shutil.which("setpriv")
        assert setpriv, "as root this test needs setpriv (util-linux) to give up its privileges"
        drop = "-dac_override,-dac_read_search"
        return [setpriv, f"--bounding-set={drop}", f"--inh-caps={drop}", *command]

    return prefixed


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In strict mode nothing may be skipped, except what needs a GPU."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not STRICT or reporter is None:
        return
    skipped = [report for report in reporter.stats.get("skipped", []) if "GPU" not in str(report.longrepr)]
    if skipped and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"{len(skipped)} skipped tests are failures where MLOPS_TEST_STRICT=1", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def repository() -> Path:
    """Root of the checkout."""
    return Path(__file__).resolve().parents[1]


def _missing(reason: str) -> None:
    if STRICT:
        pytest.fail(f"MLOPS_TEST_STRICT=1, and {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a real PostgreSQL server that lives as long as the tests."""
    binaries = find_binaries()
    if binaries is None:
        _missing("PostgreSQL's binaries (initdb, postgres) are not installed")
        return
    try:
        import psycopg  # noqa: F401
    except ImportError:
        _missing("psycopg is not installed (extra [postgres])")
    with running_server(binaries) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty schema of its own on the server."""
    import psycopg

    schema = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    yield f"{postgres_server}&options=-csearch_path%3D{schema}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace as the current folder, with none of the caller's settings."""
    (tmp_path / "mlops.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path
