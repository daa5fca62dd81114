"""Fixtures that several areas share."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests._postgres import find_binaries, running_server


def _missing(reason: str) -> None:
    if os.environ.get("MLOPS_TEST_STRICT") == "1":
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
    for name in list(os.environ):
        if name.startswith(("MLOPS_", "MLFLOW_")) and not name.startswith("MLOPS_TEST_"):
            monkeypatch.delenv(name)
    (tmp_path / "mlops.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path
