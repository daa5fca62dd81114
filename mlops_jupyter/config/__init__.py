"""Where the workspace is and how it is set: ``mlops.toml`` < environment < command line.

Cheap on purpose: a kernel imports this when the extension is loaded.
"""

from __future__ import annotations

from ._filesystem import is_network_filesystem
from ._settings import Settings, ensure_home, find_root, load_settings

__all__ = ["Settings", "ensure_home", "find_root", "is_network_filesystem", "load_settings"]
