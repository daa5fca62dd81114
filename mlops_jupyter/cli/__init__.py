"""The command line: parses, calls a verb, shows the document. Heavy modules load inside the commands alone."""

from __future__ import annotations

from ._main import cli, invoke, main
from ._output import collected

__all__ = ["cli", "collected", "invoke", "main"]
