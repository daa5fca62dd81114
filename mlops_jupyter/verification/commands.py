"""Shell commands in cells, which may write anywhere where the system cannot keep them from it. Pure."""

from __future__ import annotations

import re

_SHELL_CELL = re.compile(r"\s*%%(?:bash|sh|script|!|system|sx)\b")
_SHELL_LINE = re.compile(r"(?m)^\s*(?:[\w, ]+=\s*)?(?:!|%(?:sx|system)\s)(?P<command>.*)$")
_PATH = re.compile(r"(?<![\w.$/-])(?P<path>~?/[\w./~+@%-]+|~(?=\s|$))")
_HARMLESS = ("/dev/", "/usr/", "/bin/", "/opt/", "/proc/", "/sys/", "/etc/", "/lib")


def dangerous_command(source: str, *, root: str) -> str | None:
    """An absolute path of the user's that a shell command in a cell names, or None."""
    texts = [source] if _SHELL_CELL.match(source) else [m["command"] for m in _SHELL_LINE.finditer(source)]
    for text in texts:
        for found in _PATH.finditer(text):
            path = found["path"]
            if path.startswith((root, "~")) or not path.startswith(_HARMLESS):
                return path
    return None
