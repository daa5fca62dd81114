"""mlops-jupyter: from a notebook cell to tracked, reproducible, deployable models."""

__version__ = "0.1.0"


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
