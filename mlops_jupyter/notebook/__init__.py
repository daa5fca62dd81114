"""Notebooks as documents: reading them safely, writing a slice as one, slicing one that was never tracked.

Works on nbformat 4 JSON through the standard library; nothing here executes code or starts a kernel.
"""

from __future__ import annotations

from .document import Cell, NotebookDocument, parse_notebook, read_notebook
from .gathered import GatheredSlice, slice_document, write_atomically
from .static import StaticHistory, static_records

__all__ = [
    "Cell",
    "GatheredSlice",
    "NotebookDocument",
    "StaticHistory",
    "parse_notebook",
    "read_notebook",
    "slice_document",
    "static_records",
    "write_atomically",
]
