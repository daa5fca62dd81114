"""Notebooks as bytes, for tests."""

from __future__ import annotations

import json
from typing import Any


def notebook_bytes(
    *cells: str, language: str = "python", ids: bool = True, tags: dict[int, list[str]] | None = None
) -> bytes:
    """A notebook; ``md:`` begins a Markdown cell. Cell n has the id ``cell-n``."""
    made: list[dict[str, Any]] = []
    for number, text in enumerate(cells):
        markdown = text.startswith("md:")
        cell: dict[str, Any] = {
            "cell_type": "markdown" if markdown else "code",
            "metadata": {"tags": tags[number]} if tags and number in tags else {},
            "source": text.removeprefix("md:"),
        }
        if ids:
            cell["id"] = f"cell-{number}"
        if not markdown:
            cell |= {"outputs": [], "execution_count": None}
        made.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": language}
    document = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5 if ids else 4}
    return json.dumps(document).encode()
