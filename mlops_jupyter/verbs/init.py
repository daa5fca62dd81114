"""``mlops init``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlops_jupyter.config import load_settings
from mlops_jupyter.errors import TransientError
from mlops_jupyter.store import open_workspace_store

_TEMPLATE = """\
# Settings of this workspace. An environment variable MLOPS_<NAME> or a flag of the command line goes before them.

# experiment = "my-experiment"             # default: the notebook's path
# tracking_uri = "http://127.0.0.1:5000"   # default: SQLite in .mlops/
# store_url = "postgresql://host/mlops"    # the team's store
# data_url = "s3://bucket/mlops"           # exchange for data and models; default: .mlops/cache/
# capture_models = true                    # keep the bytes of fitted models
# model_size_limit = 268435456             # bytes

# [data]
# snapshot_limit = 67108864                # bytes: larger files that a run reads are not copied; 0: none is
# snapshot_total = 10737418240             # bytes of all copies together
"""


def init(folder: Path) -> dict[str, Any]:
    """Make ``folder`` a workspace. Returns ``{"root", "created", "kept"}`` with paths relative to ``folder``.

    Raises:
        TransientError: the folder cannot be written.
    """
    settings_file = folder / "mlops.toml"
    made: list[str] = []
    kept: list[str] = []
    if settings_file.exists():
        kept.append("mlops.toml")
    else:
        try:
            settings_file.write_text(_TEMPLATE, encoding="utf-8")
        except OSError as error:
            raise TransientError(
                f"{settings_file} cannot be written: {error.strerror or error}.",
                hint="Run mlops init in a folder that you may write to.",
            ) from error
        made.append("mlops.toml")
    settings = load_settings(folder)
    (kept if settings.database.exists() else made).append(".mlops/")
    open_workspace_store(settings).close()
    return {"root": str(settings.root), "created": made, "kept": kept}
