"""The text that a cell showed, without what differs each time it runs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
_TIMES = re.compile(r"(?m)^(?:CPU times: .*|Wall time: .*|.* per loop \(mean ± std\. dev\. of .*\))$")
_LIMIT = 1_000_000


def text_of_outputs(outputs: Iterable[Mapping[str, Any]]) -> str:
    """Standard output and plain text results; without colours, addresses, ``%%time`` and progress bars."""
    pieces: list[str] = []
    for output in outputs:
        kind = output.get("output_type")
        if kind == "stream" and output.get("name") == "stdout":
            pieces.append(_joined(output.get("text")))
        elif kind in ("execute_result", "display_data"):
            data = output.get("data")
            text = _joined(data.get("text/plain")) if isinstance(data, Mapping) else ""
            # What a figure or a widget says of itself holds its size or an id.
            pieces.append(text + "\n" if isinstance(data, Mapping) and set(data) <= {"text/plain", "text/html"} else "")
    return normalise("".join(pieces))


def normalise(text: str) -> str:
    """Text without colours, memory addresses, timings and overwritten progress lines."""
    text = _ANSI.sub("", text[:_LIMIT])
    text = "\n".join(line.rsplit("\r", 1)[-1] if not line.endswith("\r") else line[:-1] for line in text.split("\n"))
    text = _TIMES.sub("", _ADDRESS.sub("0x…", text))
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def _joined(text: Any) -> str:
    if isinstance(text, str):
        return text
    return "".join(part for part in text if isinstance(part, str)) if isinstance(text, list) else ""
