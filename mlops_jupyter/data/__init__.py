"""Bytes and what names them: digests of files, and the content-addressed exchange.

The exchange is imported when it is first asked for: a kernel needs digests from its first cell on, and the
exchange only for models and artifacts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .digest import FileDigest, StatCache, file_digest, measure

if TYPE_CHECKING:
    from .exchange import Exchange, Preflight, open_exchange

__all__ = ["Exchange", "FileDigest", "Preflight", "StatCache", "file_digest", "measure", "open_exchange"]


def __getattr__(name: str) -> object:
    if name in {"Exchange", "Preflight", "open_exchange"}:
        from . import exchange

        return getattr(exchange, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
