# ruff: noqa: PTH120, PTH206
# Inside of the user's open(): strings in, strings out, no Path objects are made.
"""Which files are data, and what they are called in the lineage."""

from __future__ import annotations

import os
import re
import site
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

CODE_SUFFIXES = (".py", ".pyc", ".pyi", ".pyx", ".so", ".pyd", ".dylib", ".dll", ".pth", ".ipynb")
"""Reading one of these is running or showing code; what it does to data is seen otherwise."""

_NO_DATA_SUFFIXES = (
    ".ttf", ".otf", ".afm", ".woff", ".woff2", ".pfb", ".ttc",  # fonts
    "-wal", "-shm", "-journal",  # SQLite's, beside the database
)  # fmt: skip
_TABLE_SUFFIXES = (
    ".csv",
    ".tsv",
    ".csv.gz",
    ".csv.zip",
    ".csv.bz2",
    ".csv.xz",
    ".tsv.gz",
    ".parquet",
    ".feather",
    ".arrow",
    ".npz",
    ".npy",
    ".npy.gz",
    ".xlsx",
    ".h5",
    ".hdf5",
    ".mat",
    ".arff",
    ".arff.gz",
)
_DATASET_SUFFIXES = (
    *_TABLE_SUFFIXES,
    ".json",
    ".jsonl",
    ".json.gz",
    ".jsonl.gz",
    ".txt",
    ".txt.gz",
    ".jpg",
    ".png",
)
_DATA_FOLDERS = frozenset({"data", "_data", "sample_data", "example_data", "package_data"})
_DATASET_FOLDERS = frozenset({"datasets", "dataset", "_datasets"})

_SYSTEM = (
    "/proc", "/sys", "/dev", "/run", "/etc", "/usr", "/lib", "/lib64", "/bin", "/sbin", "/System", "/Library",
)  # fmt: skip
_HOME_FOLDERS = (
    ".cache", ".config", ".local", ".ipython", ".jupyter", ".matplotlib", ".conda", ".mamba", ".fontconfig",
    ".ssh", ".dask", ".virtualenvs", "Library/Caches", "Library/Jupyter", "Library/Fonts",
    "Library/Application Support",
)  # fmt: skip
_HIDDEN_FOLDERS = frozenset(
    [
        ".mlops",
        ".git",
        ".hg",
        ".svn",
        ".ipynb_checkpoints",
        "__pycache__",
        "site-packages",
        "dist-packages",
        "node_modules",
        "mlruns",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
        ".virtual_documents",
        ".tox",
    ]
)
_FOLDER_VARIABLES = (
    "MLOPS_HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",
    "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME",
)  # fmt: skip
_SETTINGS = frozenset({"mlops.toml", "pyproject.toml"})
"""Files in the root that this package reads itself, also while a cell runs."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})

# Patterns are text, compiled where they are first used: a kernel that loads the extension waits for each.
_HUSHED = (
    r"(?i)token|secret|passw|pwd|sig|key|credential|auth|session|jwt|^x-amz-|^x-goog-"
    r"|^(se|sp|sv|sr|st|skoid|sktid)$"
)
_OPAQUE = r"[A-Za-z0-9+/=_\-.]{40,}"


class PathRules:
    """Decides for one workspace which paths are data, and names them."""

    def __init__(self, root: Path, *, exclude: Iterable[Path] = ()) -> None:
        # Both spellings of the root, because users and libraries use both.
        self.roots = tuple(
            dict.fromkeys(_with_slash(str(path)) for path in (root.absolute(), root.resolve(strict=False)))
        )
        home = str(Path.home())
        installs = (
            sys.prefix,
            sys.base_prefix,
            sys.exec_prefix,
            site.getuserbase(),
            os.path.dirname(os.__file__),
        )
        places = {
            *(place for install in installs if install for place in (install, os.path.realpath(install))),
            *_SYSTEM,
            *(f"{home}/{folder}" for folder in _HOME_FOLDERS),
            str(Path(__file__).parents[1]),
            *(_plain(os.environ[name]) for name in _FOLDER_VARIABLES if os.environ.get(name)),
            *(str(path.absolute()) for path in exclude),
        }
        self._excluded = tuple(_with_slash(place) for place in places)
        # Within the workspace only what lies deeper: it may itself be in ``/usr`` or a conda folder.
        self._excluded_inside = tuple(
            place for place in self._excluded if place.startswith(self.roots) and place not in self.roots
        )
        self._keys: dict[str, str | None] = {}

    def key(self, path: str) -> str | None:
        """Name of an absolute path in the lineage; None where it is no data. Remembered for 20,000 paths."""
        try:
            return self._keys[path]
        except KeyError:
            if len(self._keys) >= 20_000:
                self._keys.clear()
            found = self._keys[path] = self._key(path)
            return found

    def _key(self, path: str) -> str | None:
        if path.endswith(_NO_DATA_SUFFIXES):
            return None
        root = next((root for root in self.roots if path.startswith(root)), "")
        excluded = self._excluded_inside if root else self._excluded
        inner = path[len(root) :]
        if root and inner in _SETTINGS:
            return None
        if path.startswith(excluded) or not _HIDDEN_FOLDERS.isdisjoint(inner.split(os.sep)):
            return _package_key(path)
        return printable(inner.replace(os.sep, "/"))


def _package_key(path: str) -> str | None:
    """``package:scikit-learn/datasets/data/iris.csv`` for data that a distribution ships, else None."""
    parts = path.split(os.sep)
    places = [index for index, part in enumerate(parts) if part in _INSTALLED]
    if not places:
        return None
    inner = parts[places[-1] + 1 :]
    folders = {folder.lower() for folder in inner[:-1]}
    lowered = path.lower()
    if not (
        (folders & _DATASET_FOLDERS and lowered.endswith(_DATASET_SUFFIXES))
        or (folders & _DATA_FOLDERS and lowered.endswith(_TABLE_SUFFIXES))
    ):
        return None
    return printable("/".join([f"package:{_distribution(inner[0])}", *inner[1:]]))


_distributions: dict[str, str] = {"sklearn": "scikit-learn", "skimage": "scikit-image"}


def _distribution(module: str) -> str:
    """Distribution of a top-level module; the module's own name where finding out takes long."""
    if module not in _distributions:
        from importlib import metadata  # 10 ms that few sessions need

        try:
            _distributions[module] = metadata.distribution(module).metadata["Name"]
        except metadata.PackageNotFoundError:
            _distributions[module] = module
    return _distributions[module]


def is_uri(text: str) -> bool:
    """Whether ``text`` is a URI with an authority (``s3://…``) rather than a path."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and len(scheme) > 1 and scheme.replace("+", "").replace("-", "").isalnum()


def uri_key(uri: str) -> str | None:
    """A URI without credentials, fragment, and without what looks like a secret in its query.

    None where it is not a place of data: no host, or the tracking server that this process logs to.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    tracking = os.environ.get("MLFLOW_TRACKING_URI", "")
    if "/api/2.0/mlflow" in parts.path or (tracking.startswith("http") and uri.startswith(tracking)):
        return None
    if parts.scheme in {"", "data", "memory", "blob"} or not (host or parts.path):
        return None
    place = f"[{host}]" if ":" in host else host
    if port is not None:
        place = f"{place}:{port}"
    query = [
        (name, "REDACTED" if re.search(_HUSHED, name) or re.fullmatch(_OPAQUE, value) else value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    return printable(urlunsplit((parts.scheme, place, parts.path, urlencode(query), "")))[:2000]


def printable(text: str) -> str:
    """File names may hold bytes that are no text; the store keeps text."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(folder: str) -> str:
    return str(Path(folder).expanduser().absolute())


def _with_slash(path: str) -> str:
    return path if path.endswith(os.sep) else path + os.sep
