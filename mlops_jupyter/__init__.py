"""mlops-jupyter: from a notebook cell to tracked, reproducible, deployable models.

``%load_ext mlops_jupyter`` starts the capture of lineage. The functions are MLflow's, under MLflow's names::

    import mlops_jupyter as mlops

    mlops.log_metric("accuracy", 0.97)

Everything is looked up when it is first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mlops_jupyter._version import __version__

if TYPE_CHECKING:
    from mlops_jupyter.capture.logging import active_run as active_run
    from mlops_jupyter.capture.logging import log_artifact as log_artifact
    from mlops_jupyter.capture.logging import log_figure as log_figure
    from mlops_jupyter.capture.logging import log_metric as log_metric
    from mlops_jupyter.capture.logging import log_metrics as log_metrics
    from mlops_jupyter.capture.logging import log_param as log_param
    from mlops_jupyter.capture.logging import log_params as log_params
    from mlops_jupyter.capture.logging import log_predictions as log_predictions
    from mlops_jupyter.capture.logging import set_tag as set_tag
    from mlops_jupyter.capture.logging import set_tags as set_tags
    from mlops_jupyter.verbs.current import gather as gather
    from mlops_jupyter.verbs.current import lineage as lineage

_LOGGING = "mlops_jupyter.capture.logging"
_PUBLIC = {
    "active_run": _LOGGING,
    "log_artifact": _LOGGING,
    "log_figure": _LOGGING,
    "log_metric": _LOGGING,
    "log_metrics": _LOGGING,
    "log_param": _LOGGING,
    "log_params": _LOGGING,
    "log_predictions": _LOGGING,
    "set_tag": _LOGGING,
    "set_tags": _LOGGING,
    "gather": "mlops_jupyter.verbs.current",
    "lineage": "mlops_jupyter.verbs.current",
}

__all__ = [  # noqa: PLE0604, RUF100 - the lazy names are resolved by __getattr__
    "__version__",
    "active_run",
    "gather",
    "lineage",
    "load_ipython_extension",
    "log_artifact",
    "log_figure",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_predictions",
    "set_tag",
    "set_tags",
    "unload_ipython_extension",
]


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext mlops_jupyter``: capture every cell from here on."""
    from mlops_jupyter import capture, magics

    capture.load(shell)
    magics.register(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext mlops_jupyter``: put everything back as it was."""
    from mlops_jupyter import capture, magics

    magics.unregister(shell)
    capture.unload(shell)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Where the prebuilt JupyterLab extension lies, for ``jupyter labextension develop``."""
    return [{"src": "labextension", "dest": "mlops-jupyter"}]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Jupyter Server asks each enabled package for its extensions."""
    return [{"module": "mlops_jupyter"}]


def _load_jupyter_server_extension(server_app: object) -> None:
    """Add ``mlops/api/`` to a Jupyter Server."""
    from mlops_jupyter.server import load_extension

    load_extension(server_app)  # type: ignore[arg-type]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
