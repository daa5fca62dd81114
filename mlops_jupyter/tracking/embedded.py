"""The embedded MLflow database: created once, upgraded with a backup, never touched by an older version.

MLflow's own start-up is not safe for several processes at once, and upgrades an older database without a
backup. So both happen here, under a lock beside the file's real path, before a client opens it. A new
database is built under another name and linked into place: other programs see all of it or nothing.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from mlops_jupyter.errors import NewerSchemaError, TransientError, UsageError
from mlops_jupyter.store import FileLock

from .target import Target

CREATION_TIMEOUT = 120.0
"""Seconds to wait for another process that creates or upgrades the database (a creation takes about five)."""

_log = logging.getLogger(__name__)


def prepare_database(target: Target, artifacts: Path) -> bool:
    """Make the SQLite database behind ``target`` ready for this MLflow; whether it is a new, empty one.

    Nothing to do for servers.

    Raises:
        NewerSchemaError: the database is of a newer MLflow; nothing was touched.
        UsageError: it is of an older one and not the workspace's own, or it is no MLflow database.
        TransientError: another process holds it, or it cannot be written.
    """
    path = target.database
    if path is None:
        return False
    head = _head_revision()
    if _revision(path) == head:
        return False
    lock = FileLock(path.with_name(path.name + ".lock"))
    if not lock.acquire(timeout=CREATION_TIMEOUT):
        raise TransientError(f"{path} is being set up by another process.", hint="Try again in a minute.")
    try:
        revision = _revision(path)
        if revision == head:
            return False
        if revision is None:
            _create(path, artifacts)
            return True
        if revision not in _known_revisions():
            raise NewerSchemaError(
                f"The MLflow database {path} is of a newer MLflow (schema {revision}); it was left as it is.",
                hint="Upgrade with: pip install -U mlflow",
            )
        if not target.embedded:
            raise UsageError(
                f"The MLflow database {path} has an older schema ({revision}) than this MLflow needs.",
                hint=f"Back it up and run: mlflow db upgrade sqlite:///{path}",
            )
        _upgrade(path, revision)
        return False
    finally:
        lock.release()


def _head_revision() -> str:
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())  # type: ignore[no-untyped-call]


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    config = _get_alembic_config(db_url="")  # type: ignore[no-untyped-call]
    scripts = ScriptDirectory.from_config(config)
    return {script.revision for script in scripts.walk_revisions()}


def _revision(path: Path) -> str | None:
    """Schema of the database; None where there is none yet (no file, an empty file).

    Raises:
        UsageError: a file that is no MLflow database.
        TransientError: a file that cannot be read.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=20)) as raw:
            tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return None
            if "alembic_version" in tables:
                row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
                if row is not None:
                    return str(row[0])
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise TransientError(f"{path} cannot be read: {error}.", hint="Check the file's permissions.") from error
        raise UsageError(f"{path} is no SQLite database: {error}.", hint="Move it away; a new one is made.") from error
    raise UsageError(f"{path} is no MLflow database.", hint="Move it away or set MLFLOW_TRACKING_URI to another one.")


def _create(path: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    started = time.monotonic()
    building = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        building.unlink(missing_ok=True)
        store = SqlAlchemyStore(f"sqlite:///{building}", artifacts.as_uri())  # type: ignore[no-untyped-call]
        store.engine.dispose()
        SqlAlchemyStore._engine_map.pop(f"sqlite:///{building}", None)
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        try:
            os.link(building, path)  # unlike rename it never replaces a database that someone else made meanwhile
        except FileExistsError:
            return
    except OSError as error:
        raise TransientError(
            f"The MLflow database {path} cannot be created: {error.strerror or error}.",
            hint="Make the folder writable or set MLOPS_HOME to a folder that is.",
        ) from error
    finally:
        building.unlink(missing_ok=True)
    stale = SqlAlchemyStore._engine_map.get(f"sqlite:///{path}")
    if stale is not None:
        stale.dispose()  # its connections are to the file that was removed
    _log.info("created %s in %.1f s", path, time.monotonic() - started)


def _upgrade(path: Path, revision: str) -> None:
    from mlflow.store.db.utils import _upgrade_db, create_sqlalchemy_engine

    backup = path.with_name(f"{path.name}.{revision}.{time.strftime('%Y%m%d-%H%M%S')}.backup")
    _copy(path, backup)
    _log.info("upgrading %s from schema %s, backup in %s", path, revision, backup)
    engine = create_sqlalchemy_engine(f"sqlite:///{path}")  # type: ignore[no-untyped-call]
    try:
        _upgrade_db(engine)  # type: ignore[no-untyped-call]
    except Exception as error:
        engine.dispose()
        _copy(backup, path)
        raise UsageError(
            f"{path} could not be upgraded from MLflow's schema {revision}: {error}. It was put back.",
            hint=f"A copy is in {backup}.",
        ) from error
    finally:
        engine.dispose()


def _copy(source: Path, destination: Path) -> None:
    """Copy through SQLite, so that what others write meanwhile is in it whole or not at all."""
    try:
        with (
            closing(sqlite3.connect(source, timeout=20)) as old,
            closing(sqlite3.connect(destination, timeout=20)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as error:
        raise TransientError(f"{source} cannot be copied to {destination}: {error}.") from error
