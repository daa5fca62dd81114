"""Finding the workspace and reading its settings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_jupyter.errors import TransientError, UsageError

from ._filesystem import is_network_filesystem

MARKERS = (".mlops", "mlops.toml", ".git", "pyproject.toml")
"""A folder that holds one of these is a workspace."""

_GITIGNORE = "# Written by mlops-jupyter: everything in here is local state.\n*\n"

_KEYS = {
    "store_url": str,
    "data_url": str,
    "tracking_uri": str,
    "registry_uri": str,
    "experiment": str,
    "state_dir": str,
    "capture_models": bool,
    "model_size_limit": int,
    "deliver": bool,
}
_TABLES: dict[str, dict[str, type]] = {"data": {"snapshot_limit": int, "snapshot_total": int}}
"""Settings in tables of ``mlops.toml``: ``[data] snapshot_limit`` is ``MLOPS_DATA_SNAPSHOT_LIMIT``."""

_OPTIONAL = ("capture_models", "model_size_limit", "deliver", "snapshot_limit", "snapshot_total")
"""Settings whose default is that of the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, resolved."""

    root: Path
    """Folder of the workspace; paths in lineage are relative to it."""
    home: Path
    """``.mlops/`` (or ``MLOPS_HOME``)."""
    state: Path
    """Folder of the databases and locks: ``home``, or a local folder where ``home`` is on a network file system."""
    store_url: str | None
    """``postgresql://…`` of the team's store, or None."""
    data_url: str | None
    """fsspec URL of the exchange, or None for ``home/cache``."""
    tracking_uri: str
    """MLflow's tracking URI, absolute."""
    registry_uri: str | None
    embedded_mlflow: bool
    """Whether MLflow is the embedded SQLite database in ``state``."""
    experiment: str | None
    """Experiment of runs that name none; None: the notebook's path."""
    capture_models: bool = True
    model_size_limit: int = 256 * 1024 * 1024
    """Bytes: a larger model is recorded without its bytes."""
    deliver: bool = True
    """Whether kernels start the delivery process by themselves."""
    snapshot_limit: int = 64 * 1024 * 1024
    """Bytes: a larger file that a run reads is not copied into the exchange; 0: none is."""
    snapshot_total: int = 10 * 1024 * 1024 * 1024
    """Bytes of all copies together; beyond it no further file is copied."""

    @property
    def database(self) -> Path:
        """The lineage database."""
        return self.state / "lineage.db"

    @property
    def artifacts(self) -> Path:
        """Artifact folder of the embedded MLflow."""
        return self.home / "artifacts"

    @property
    def cache(self) -> Path:
        """The local exchange: content-addressed files."""
        return self.home / "cache"

    @property
    def runs(self) -> Path:
        """Default output folder of headless runs, one folder a run."""
        return self.home / "runs"

    @property
    def locks(self) -> Path:
        """Files whose held lock says that a session or the delivery process is alive."""
        return self.state / "locks"


def find_root(start: Path) -> Path:
    """Nearest ancestor of ``start`` (itself included) that holds a marker, else ``start``."""
    start = start.absolute()
    for folder in (start, *start.parents):
        # Unlike Path.exists, this is False for what lies in a folder that may not be entered.
        if any(os.path.exists(folder / marker) for marker in MARKERS):  # noqa: PTH110
            return folder
    return start


def load_settings(start: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of the workspace that ``start`` (default: the current folder) belongs to. Creates nothing.

    Raises:
        UsageError: a settings file is not TOML, or holds an unknown key or a value of the wrong type.
    """
    environ = os.environ if environ is None else environ
    try:
        start = Path.cwd() if start is None else Path(start).absolute()
    except FileNotFoundError:
        raise UsageError("The current folder does not exist any more.", hint="Change to one that does.") from None
    explicit = environ.get("MLOPS_HOME")
    if explicit:
        home = Path(explicit).expanduser().absolute()
        root = home.parent if home.name == ".mlops" else find_root(start)
    else:
        root = find_root(start)
        home = root / ".mlops"
    values: dict[str, Any] = _read_files(root)
    for key, kind in _KEYS.items():
        text = environ.get(f"MLOPS_{key.upper()}")
        if text:
            values[key] = _from_text(key, text, kind)
    for table, keys in _TABLES.items():
        for key, kind in keys.items():
            text = environ.get(f"MLOPS_{table}_{key}".upper())
            if text:
                values[key] = _from_text(f"{table}_{key}", text, kind)
    for key in ("snapshot_limit", "snapshot_total"):
        if values.get(key, 0) < 0:
            raise UsageError(f"[data] {key} must be a number of bytes, 0 or more, got {values[key]}.")
    state = _state_folder(home, values.get("state_dir"), root, environ)
    embedded = f"sqlite:///{state / 'mlflow.db'}"
    tracking_uri = _uri("tracking_uri", values, environ, root=root, start=start)
    return Settings(
        root=root,
        home=home,
        state=state,
        store_url=values.get("store_url"),
        data_url=values.get("data_url"),
        tracking_uri=tracking_uri or embedded,
        registry_uri=_uri("registry_uri", values, environ, root=root, start=start),
        embedded_mlflow=tracking_uri in (None, embedded),
        experiment=environ.get("MLFLOW_EXPERIMENT_NAME") or values.get("experiment"),
        **{k: values[k] for k in _OPTIONAL if k in values},
    )


def ensure_home(settings: Settings) -> None:
    """Create the workspace's folders with a ``.gitignore`` of their own. Safe for many processes at once.

    Raises:
        UsageError: a file stands where a folder must be.
        TransientError: the folder cannot be written (read-only, full disk).
    """
    try:
        settings.locks.mkdir(parents=True, exist_ok=True)
        settings.home.mkdir(parents=True, exist_ok=True)
        ignore = settings.home / ".gitignore"
        if not ignore.exists():
            ignore.write_text(_GITIGNORE, encoding="utf-8")
        if settings.state != settings.home:
            pointer, text = settings.home / "state", f"{settings.state}\n"
            if not pointer.exists() or pointer.read_text(encoding="utf-8") != text:
                pointer.write_text(text, encoding="utf-8")
    except (NotADirectoryError, FileExistsError) as error:
        raise UsageError(
            f"The workspace folder {settings.home} cannot be made: a file stands where a folder must be.",
            hint="Move the file away or set MLOPS_HOME to a folder.",
        ) from error
    except OSError as error:
        raise TransientError(
            f"The workspace folder {settings.home} cannot be written: {error.strerror or error}.",
            hint="Make it writable or set MLOPS_HOME to a folder that is.",
        ) from error


def _state_folder(home: Path, configured: str | None, root: Path, environ: Mapping[str, str]) -> Path:
    if configured:
        return Path(os.path.normpath(root / Path(configured).expanduser()))
    if not is_network_filesystem(home):
        return home
    base = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    key = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]
    return base / "mlops-jupyter" / key


def _uri(key: str, values: Mapping[str, Any], environ: Mapping[str, str], *, root: Path, start: Path) -> str | None:
    """MLflow's own variable, else ours, else the file; a relative path becomes an absolute one.

    MLflow resolves a relative path against whatever folder a process happens to be in: the kernel's, the delivery's.
    """
    name = key.upper()
    told = environ.get(f"MLFLOW_{name}") or environ.get(f"MLOPS_{name}")
    uri, base = (told, start) if told else (values.get(key), root)
    if uri is None:
        return None
    prefix, path = ("sqlite:///", uri[10:]) if uri.startswith("sqlite:///") else ("", uri)
    if (prefix and path and not path.startswith(("/", ":", "?"))) or uri.startswith(("./", "../", "~")):
        return f"{prefix}{os.path.normpath(base / Path(path).expanduser())}"
    return str(uri)


def _read_files(root: Path) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name, section in (("pyproject.toml", ("tool", "mlops")), ("mlops.toml", ())):
        path = root / name
        if not path.is_file():
            continue
        import tomllib  # only workspaces that have such a file pay for the parser

        try:
            document: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            if not section:
                raise UsageError(f"{path} is not valid TOML: {error}.", hint="Mend the file.") from error
            continue  # a broken pyproject.toml is for its own tools to report
        for part in section:
            document = document.get(part, {}) if isinstance(document, dict) else {}
        if not isinstance(document, dict):
            raise UsageError(f"{path}: [{'.'.join(section)}] must be a table, got {document!r}.")
        merged.update(_checked(document, path))
    return merged


def _checked(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            # Other tables, such as [gates.NAME], belong to the features that read them.
            values.update(_checked_values(value, _TABLES[key], path, f"[{key}] ") if key in _TABLES else {})
        else:
            values.update(_checked_values({key: value}, _KEYS, path, ""))
    return values


def _checked_values(document: Mapping[str, Any], known: Mapping[str, type], path: Path, table: str) -> dict[str, Any]:
    for key, value in document.items():
        kind = known.get(key)
        if kind is None:
            raise UsageError(f"{path} has the unknown setting {table}{key!r}.", hint=f"Known: {', '.join(known)}.")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UsageError(f"{path}: {table}{key} must be a {kind.__name__}, got {value!r}.")
    return dict(document)


def _from_text(key: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() in {"1", "true", "yes", "on"}:
            return True
        if text.lower() in {"0", "false", "no", "off"}:
            return False
        raise UsageError(f"MLOPS_{key.upper()} must be true or false, got {text!r}.")
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"MLOPS_{key.upper()} must be a {kind.__name__}, got {text!r}.") from None
