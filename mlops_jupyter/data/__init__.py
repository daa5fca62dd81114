"""Bytes and what names them: digests of files, and the content-addressed exchange."""

from __future__ import annotations

from .digest import FileDigest, StatCache, file_digest, measure
from .exchange import Exchange, Preflight, open_exchange

__all__ = ["Exchange", "FileDigest", "Preflight", "StatCache", "file_digest", "measure", "open_exchange"]
