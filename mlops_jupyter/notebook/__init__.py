"""Notebooks as documents: reading them safely, writing a slice as one, slicing one that was never tracked.

Works on nbformat 4 JSON through the standard library; nothing here executes code or starts a kernel.
"""

from __future__ import annotations

from .document import Cell, NotebookDocument, read_notebook
from .gathered import GatheredSlice, slice_document


__all__ = ["Cell", "GatheredSlice", "NotebookDocument", "read_notebook", "slice_document"]
