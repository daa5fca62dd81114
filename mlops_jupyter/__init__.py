"""mlops-jupyter: from a notebook cell to tracked, reproducible, deployable models."""

__version__ = "0.1.0"
