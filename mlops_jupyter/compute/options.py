"""What can be set about clusters: the table ``[ray]`` of mlops.toml, then ``MLOPS_RAY_*``, then the command line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import UsageError

_KEYS: dict[str, type] = {
    "address": str, "python": str, "token_file": str, "cpus": int, "gpus": int, "idle_minutes": float,
    "input_limit": int, "output_limit": int, "autoscales": bool,
}  # fmt: skip
_DASHBOARD_PORT = 8265


@dataclass(frozen=True, slots=True, kw_only=True)
class RayOptions:
    """Settings of remote work, resolved."""

    address: str | None = None
    """Cluster to submit to where none is named; None: one is started on this machine."""
    python: str = "python3"
    """Interpreter on a cluster. On this machine it is our own."""
    token_file: Path | None = None
    """File with the token of a cluster that asks for one."""
    cpus: int | None = None
    gpus: int | None = None
    """What the cluster on this machine offers; None: what the machine has."""
    idle_minutes: float = 15.0
    """After that long without a job the cluster on this machine ends."""
    input_limit: int = 1024**3
    """Bytes of files that a job may take along."""
    output_limit: int = 1024**3
    """Bytes of files that a job may bring back."""
    autoscales: bool = False
    """Whether the cluster grows on demand: then a request that no node of now can serve waits, instead of being
    refused."""


def load_options(settings: Settings, environ: Mapping[str, str] | None = None) -> RayOptions:
    """The options of a workspace.

    Raises:
        UsageError: an unknown key, or a value of the wrong type or range.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for name, section in (("pyproject.toml", ("tool", "mlops", "ray")), ("mlops.toml", ("ray",))):
        values |= _table(settings.root / name, section)
    for key, kind in _KEYS.items():
        text = environ.get(f"MLOPS_RAY_{key.upper()}")
        if text:
            values[key] = _from_text(key, text, kind)
    address = environ.get("RAY_ADDRESS")
    if address and "MLOPS_RAY_ADDRESS" not in environ:
        values["address"] = address
    for key in ("cpus", "gpus", "idle_minutes", "input_limit", "output_limit"):
        if key in values and values[key] < 0:
            raise UsageError(f"The setting ray.{key} must not be negative, got {values[key]!r}.")
    if "token_file" in values:
        values["token_file"] = settings.root / Path(values["token_file"]).expanduser()
    return RayOptions(**values)


def dashboard_url(address: str) -> str:
    """The URL of a cluster's dashboard from what people write.

    Raises:
        UsageError: an address of Ray Client, or none at all.
    """
    text = address.strip()
    if text in {"auto", "local"}:
        return f"http://127.0.0.1:{_DASHBOARD_PORT}"
    if text.startswith("ray://"):
        host = urlsplit(text).hostname or "HOST"
        raise UsageError(
            f"{address!r} is an address of Ray Client; jobs go through the dashboard.",
            hint=f"Give http://{host}:{_DASHBOARD_PORT}, or whatever port the dashboard has.",
        )
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = None, None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", text):
        raise UsageError(f"{address!r} is no address of a cluster.", hint="Give http://HOST:8265.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            "An address of a cluster holds no credentials and no query.",
            hint="Put the token into a file and name it in RAY_AUTH_TOKEN_PATH or ray.token_file.",
        )
    if port is None:
        port = _DASHBOARD_PORT if parts.scheme == "http" else 443
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Whether the cluster behind a dashboard's URL is on this machine."""
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def cluster_token(options: RayOptions, environ: Mapping[str, str] | None = None) -> str | None:
    """The token for a cluster that somebody else runs: from the settings, else as Ray's own tools find it.

    Raises:
        UsageError: the file that is named cannot be read.
    """
    environ = os.environ if environ is None else environ
    path = options.token_file
    if path is None:
        if environ.get("RAY_AUTH_TOKEN"):
            return environ["RAY_AUTH_TOKEN"].strip()
        if environ.get("RAY_AUTH_TOKEN_PATH"):
            path = Path(environ["RAY_AUTH_TOKEN_PATH"]).expanduser()
        elif environ.get("RAY_AUTH_MODE") == "token":
            path = Path.home() / ".ray" / "auth_token"
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The token file {path} cannot be read: {error}.") from error


def parse_memory(text: str) -> int:
    """Bytes from ``4GB``, ``512MiB`` or a plain number; powers of 1024, as Ray counts.

    Raises:
        UsageError: no amount of memory.
    """
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kmgt]?)i?b?\s*", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"{text[:60]!r} is no amount of memory.", hint="Write 4GB, 512MB or a number of bytes.")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))


def _table(path: Path, section: tuple[str, ...]) -> dict[str, Any]:
    try:
        document: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}  # the settings themselves have reported what is wrong with a file of ours
    for part in section:
        document = document.get(part, {}) if isinstance(document, dict) else {}
    if not isinstance(document, dict):
        raise UsageError(f"{path}: [{'.'.join(section)}] must be a table, got {document!r}.")
    values = {}
    for key, value in document.items():
        kind = _KEYS.get(key)
        if kind is None:
            raise UsageError(f"{path} has the unknown setting ray.{key}.", hint=f"Known: {', '.join(_KEYS)}.")
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UsageError(f"{path}: ray.{key} must be a {kind.__name__}, got {value!r}.")
        values[key] = value
    return values


def _from_text(key: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in {"0", "1", "false", "true", "no", "yes"}:
            raise UsageError(f"MLOPS_RAY_{key.upper()} must be true or false, got {text!r}.")
        return text.lower() in {"1", "true", "yes"}
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"MLOPS_RAY_{key.upper()} must be a {kind.__name__}, got {text!r}.") from None
