"""The embedded MLflow database is made once, upgraded with a backup, and left alone when it is newer."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import NewerSchemaError, UsageError
from mlops_jupyter.store import Connection, runs
from mlops_jupyter.tracking import sync
from mlops_jupyter.tracking.target import absolute_uri, public_uri

from .workspaces import child_environment, new_run, settings_of

OLD_REVISION = "bd07f7e963c5"
"""A schema of MLflow 2: before the tables that version 3 writes to."""


def old_database(path: Path) -> None:
    """A database as an older MLflow left it, with an experiment and a run in it."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    config = _get_alembic_config(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, OLD_REVISION)
    engine.dispose()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) "
            "VALUES (7, 'from before', '/nowhere', 'active')"
        )
        raw.execute(
            "INSERT INTO runs (run_uuid, name, experiment_id, status, lifecycle_stage, start_time, artifact_uri, "
            "source_type, user_id, source_name, entry_point_name, source_version) VALUES "
            "('0123456789abcdef0123456789abcdef', 'old run', 7, 'FINISHED', 'active', 1, '/nowhere', 'LOCAL', 'ada', "
            "'', '', '')"
        )
        raw.execute(
            "INSERT INTO params (key, value, run_uuid) VALUES ('lr', '0.1', '0123456789abcdef0123456789abcdef')"
        )
    aged(path)


def aged(path: Path) -> None:
    """As if nobody had written to it for an hour: what is new may be another program's work in progress."""
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))


def revision_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as raw:
        return str(raw.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_an_older_schema_is_upgraded_and_a_backup_kept(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    database = settings.state / "mlflow.db"
    old_database(database)
    assert revision_of(database) == OLD_REVISION
    assert sync(settings).error is None
    client = MlflowClient(tracking_uri=settings.tracking_uri)
    assert client.get_experiment_by_name("from before").experiment_id == "7"
    assert client.get_run("0123456789abcdef0123456789abcdef").data.params == {"lr": "0.1"}
    (backup,) = settings.state.glob("mlflow.db.*.backup")
    assert revision_of(backup) == OLD_REVISION
    assert sync(settings).error is None
    assert list(settings.state.glob("mlflow.db.*.backup")) == [backup], "backed up again without need"


def test_a_newer_schema_is_left_alone(settings: Settings, store: Connection) -> None:
    database = settings.state / "mlflow.db"
    with closing(sqlite3.connect(database)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = database.read_bytes()
    run_uid = new_run(store)
    report = sync(settings)
    assert isinstance(report.error, NewerSchemaError)
    assert "newer MLflow" in str(report.error)
    assert report.remaining == {"run_events": 1}
    assert database.read_bytes() == before
    assert runs.get_run(store, run_uid).mlflow_run_id is None


def test_an_older_database_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "theirs" / "mlflow.db"
    old_database(database)
    before = database.read_bytes()
    report = sync(settings_of(tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{database}"))
    assert isinstance(report.error, UsageError)
    assert "mlflow db upgrade" in report.error.hint
    assert database.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all, whatever its name says" * 30])
def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    settings = settings_of(tmp_path)
    settings.state.mkdir()
    database = settings.state / "mlflow.db"
    database.write_bytes(content)
    report = sync(settings)
    assert "no SQLite database" in str(report.error)
    assert database.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    settings.state.mkdir()
    with closing(sqlite3.connect(settings.state / "mlflow.db")) as raw, raw:
        raw.execute("CREATE TABLE notes (text TEXT)")
    aged(settings.state / "mlflow.db")
    assert "no MLflow database" in str(sync(settings).error)


def test_a_database_that_someone_is_making_is_waited_for(tmp_path: Path, template: Path) -> None:
    """A cell that calls mlflow itself makes the database in place, schema by schema."""
    settings = settings_of(tmp_path)
    database = settings.state / "mlflow.db"
    old_database(database)
    os.utime(database)
    finish = threading.Timer(1.0, lambda: database.write_bytes(template.read_bytes()))
    finish.start()
    assert sync(settings).error is None
    finish.join()
    assert list(settings.state.glob("*.backup")) == [], "it was taken for an old one"
    assert MlflowClient(tracking_uri=settings.tracking_uri).get_experiment_by_name("from before") is None


def test_an_empty_file_is_replaced(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    settings.state.mkdir()
    (settings.state / "mlflow.db").touch()
    aged(settings.state / "mlflow.db")
    assert sync(settings).error is None


def test_processes_that_start_at_once_make_one_database(tmp_path: Path) -> None:
    """Through different paths too: the lock is that of the real file."""
    real = tmp_path / "real"
    (real / ".mlops").mkdir(parents=True)
    roots = [real]
    for number in range(3):
        link = tmp_path / f"link{number}"
        link.symlink_to(real)
        roots.append(link)
    program = Path(__file__).with_name("create_at_once.py")
    done = subprocess.run(
        [sys.executable, str(program), *map(str, roots)],
        capture_output=True, text=True, timeout=120, check=False, env=child_environment(),
    )  # fmt: skip
    assert sorted(done.stdout.split()) == ["found", "found", "found", "made"], done.stdout + done.stderr[-2000:]
    client = MlflowClient(tracking_uri=settings_of(real).tracking_uri)
    names = {experiment.name for experiment in client.search_experiments()}
    assert names == {"Default", "of 0", "of 1", "of 2", "of 3"}
    assert not list((real / ".mlops").glob(".mlflow.db*")), "a half-made database was left"


@pytest.mark.parametrize(
    ("given", "absolute"),
    [
        ("sqlite:///mlflow.db", "sqlite:////w/mlflow.db"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("mlruns", "file:///w/mlruns"),
        ("http://h:5000", "http://h:5000"),
        ("databricks", "databricks"),
    ],
)
def test_addresses_are_absolute(given: str, absolute: str) -> None:
    assert absolute_uri(given, Path("/w")) == absolute


def test_what_is_shown_holds_no_password() -> None:
    assert public_uri("https://ada:secret@h:5000/mlflow/?token=x") == "https://h:5000/mlflow"
