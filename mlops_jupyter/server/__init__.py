"""Jupyter Server extension: runs and lineage under ``mlops/api/``, and an event when they change.

The thin HTTP side of the verbs: it parses a request, calls a verb in a thread, and writes JSON. Importing it loads
neither MLflow nor pandas, and a broken workspace never keeps the server from starting: the status document says
what is wrong.
"""

from __future__ import annotations

from .extension import load_extension

__all__ = ["load_extension"]
