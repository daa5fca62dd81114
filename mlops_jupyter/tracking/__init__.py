"""The only place that knows MLflow: brings runs and all that belongs to them there.

Everything is recorded in the local store first (``mlops_jupyter.store``); this package reads it through the
outbox and makes MLflow the same, exactly once in effect whatever is interrupted. It runs in a process of its
own (``python -m mlops_jupyter.tracking``) or where ``mlops sync`` runs; importing it does not import MLflow.
"""

from __future__ import annotations

import logging

from .names import escape_key, unescape_key
from .report import SyncReport
from .syncing import sync
from .target import absolute_uri

# Without a handler Python writes warnings with their tracebacks to standard error, below what the verb says itself.
logging.getLogger("mlops_jupyter").addHandler(logging.NullHandler())

__all__ = ["SyncReport", "absolute_uri", "escape_key", "sync", "unescape_key"]
