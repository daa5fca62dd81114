"""Which recorded model or file each registered version came from: MLflow's versions, mirrored where they are ours."""

from __future__ import annotations

from dataclasses import dataclass

from mlops_jupyter.entities import Digest, ExecutionId, RunUid

from .connection import Connection, Row

_COLUMNS = "registration_id, registry, name, version, run_uid, model_uid, execution_id, file, digest, model_id, at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One version of a registered model that was registered from here."""

    registration_id: str
    registry: str
    """Address of the registry, without user and password."""
    name: str
    version: int
    run_uid: RunUid | None
    model_uid: str | None
    """The recorded model; None where a file was registered."""
    execution_id: ExecutionId | None
    """The execution that fitted the model or wrote the file."""
    file: str | None
    """Name under which lineage knows the file."""
    digest: Digest
    """Of the recorded model's bytes, or of the file."""
    model_id: str | None
    """MLflow's id of the logged model."""
    at: float
    """Seconds since the epoch."""


def put_registration(connection: Connection, registration: Registration) -> None:
    """Keep a registration; again replaces what was kept of it."""
    r = registration
    connection.execute(
        f"INSERT INTO registrations ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?) "
        "ON CONFLICT (registration_id) DO UPDATE SET version = excluded.version, model_id = excluded.model_id",
        (
            r.registration_id, r.registry, r.name, r.version, r.run_uid, r.model_uid, r.execution_id, r.file, r.digest,
            r.model_id, r.at,
        ),
    )  # fmt: skip


def find_registration(connection: Connection, registry: str, name: str, version: int) -> Registration | None:
    """The registration behind a version, or None where it was made elsewhere."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM registrations WHERE registry = ? AND name = ? AND version = ? "
        "ORDER BY at DESC LIMIT 1",
        (registry, name, version),
    )
    return _registration(rows[0]) if rows else None


def _registration(r: Row) -> Registration:
    return Registration(
        registration_id=r[0], registry=r[1], name=r[2], version=r[3], run_uid=r[4], model_uid=r[5], execution_id=r[6],
        file=r[7], digest=r[8], model_id=r[9], at=r[10],
    )  # fmt: skip
