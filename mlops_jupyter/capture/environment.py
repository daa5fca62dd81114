"""The environment document: interpreter and installed distributions, read from folder names alone.

``importlib.metadata`` opens every METADATA file (100 ms and more in a large environment); the names of the
``*.dist-info`` folders say the same in a few milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from dataclasses import dataclass
from functools import lru_cache

from mlops_jupyter.entities import Digest

_SEPARATORS = re.compile(r"[-_.]+")


@dataclass(frozen=True, slots=True)
class Environment:
    """What code runs on."""

    digest: Digest
    document: str
    """JSON: ``python``, ``implementation``, ``platform``, ``distributions`` (name -> version)."""
    distributions: dict[str, str]
    """Normalised name -> version."""

    @property
    def requirements(self) -> str:
        """Pinned distributions, one a line, as ``pip install -r`` takes them."""
        return "".join(f"{name}=={version}\n" for name, version in self.distributions.items())


def read_environment() -> Environment:
    """The environment of this process. Cached until a folder of ``sys.path`` changes."""
    stamps: list[tuple[str, int]] = []
    for folder in dict.fromkeys(sys.path):
        if folder.endswith(("site-packages", "dist-packages")) or os.sep + "site-packages" in folder:
            try:
                stamps.append((folder, os.stat(folder).st_mtime_ns))  # noqa: PTH116 - a hot path
            except OSError:
                continue
    return _read(tuple(stamps))


@lru_cache(maxsize=1)
def _read(stamps: tuple[tuple[str, int], ...]) -> Environment:
    found: dict[str, str] = {}
    for folder, _ in stamps:
        try:
            names = os.listdir(folder)  # noqa: PTH208 - a hot path
        except OSError:
            continue
        for name in names:
            stem, dot, kind = name.rpartition(".")
            if dot and kind in ("dist-info", "egg-info"):
                distribution, dash, version = stem.partition("-")
                if dash:
                    found.setdefault(normalised(distribution), version.partition("-py")[0])
    distributions = dict(sorted(found.items()))
    document = json.dumps(
        {
            "python": platform.python_version(),
            "implementation": sys.implementation.name,
            "platform": f"{sys.platform}-{os.uname().machine if hasattr(os, 'uname') else ''}",
            "distributions": distributions,
        }
    )
    digest = Digest("sha256:" + hashlib.sha256(document.encode()).hexdigest())
    return Environment(digest, document, distributions)


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return _SEPARATORS.sub("-", name).lower()
