"""What a synchronisation did and what it left."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import RunUid
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.store.delivery_process import delivery_lock
from mlops_jupyter.store.outbox import DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """Result of ``sync``; everything is said as it is in the store, whoever delivered it."""

    target: str
    """Tracking URI without credentials."""
    delivered: Mapping[str, int] = field(default_factory=dict)
    """How many of each kind (``runs``, ``params``, ``metrics`` …) reached MLflow meanwhile."""
    remaining: Mapping[str, int] = field(default_factory=dict)
    """Rows still to be delivered, by stream."""
    dead_letters: tuple[DeadLetter, ...] = ()
    """Rows that MLflow refused for good, with the reason."""
    killed: tuple[RunUid, ...] = ()
    """Runs whose kernel was found dead and that ended as KILLED."""
    error: MlopsError | None = None
    """Why not everything was delivered, where that is for all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStatus:
    """What the running delivery process last said of itself."""

    pid: int
    at: float
    """Seconds since the epoch of its last pass."""
    error: str | None = None
    hint: str = ""
    delivered: Mapping[str, int] = field(default_factory=dict)
    """By kind, since it started."""


def write_status(settings: Settings, delivered: Mapping[str, int], error: MlopsError | None) -> None:
    """Say how the last pass went, for a ``mlops sync`` that waits for this process. Never raises."""
    document = {
        "pid": os.getpid(),
        "at": time.time(),
        "error": None if error is None else error.message,
        "hint": "" if error is None else error.hint,
        "delivered": dict(delivered),
    }
    path = _status_path(settings)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        try:
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(path)
        except OSError:
            temporary.unlink()  # a full disk has taken the name, not the words


def read_status(settings: Settings) -> DeliveryStatus | None:
    """What the delivery process last wrote, or None."""
    try:
        document: dict[str, Any] = json.loads(_status_path(settings).read_text(encoding="utf-8"))
        return DeliveryStatus(
            pid=int(document["pid"]),
            at=float(document["at"]),
            error=document["error"],
            hint=str(document["hint"]),
            delivered=dict(document["delivered"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def wake_path(settings: Settings) -> Path:
    """File whose time of change tells the delivery process to try at once."""
    return delivery_lock(settings).with_suffix(".wake")


def _status_path(settings: Settings) -> Path:
    return delivery_lock(settings).with_suffix(".json")
