"""Blank values that look like secrets, before any text is stored. Every pattern is bounded: linear time."""

from __future__ import annotations

import re
from collections.abc import Callable

BLANK = "***"

_WORD = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key|secret[_-]?key"
    r"|auth[_-]?key|credentials?|client[_-]?secret|connection[_-]?string|account[_-]?key)"
)
_NAME = (
    rf"(?<![A-Za-z0-9])(?:[A-Za-z0-9]{{1,30}}[_-]){{0,4}}[A-Za-z0-9]{{0,30}}?{_WORD}(?:[_-][A-Za-z0-9]{{1,30}}){{0,2}}"
)

_QUOTED = re.compile(
    # NAME = "value", 'NAME': 'value', NAME["x"] = f"value", os.environ["API_KEY"] = "…"
    rf"(?P<head>{_NAME}[\"']?\s{{0,8}}\]?\s{{0,8}}"
    # Of {"password": variable, "user": "x"} the second key is no value: an annotation is one only before a =.
    r"(?::\s{0,4}[A-Za-z]{1,12}\s{0,4}=(?!=)|=(?!=)|:|,)\s{0,8}[rbuf]{0,2})"
    r"(?P<quote>\"\"\"|'''|\"|')(?P<value>[^\"'\n]{1,4000})(?P=quote)",
    re.IGNORECASE,
)
_BARE = re.compile(
    # %env TOKEN=value, export API_KEY=value, --password value
    rf"(?P<head>(?:^[ \t]{{0,40}}[%!]env\s{{1,4}}|\bexport\s{{1,4}}|\bset\s{{1,4}}|--)[A-Za-z0-9_-]{{0,60}}?{_WORD}"
    r"(?:[_-][A-Za-z0-9]{1,30}){0,2}(?:=|\s{1,4}))(?P<value>[^\s\"'$;|&{}()]{3,4000})",
    re.IGNORECASE | re.MULTILINE,
)
_URL = re.compile(
    r"(?P<head>\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s:/@\"'{}]{0,100}:)(?P<value>[^\s/@\"'{}]{1,300})(?=@)"
)
_BEARER = re.compile(r"(?P<head>\b(?:Bearer|Basic|token)\s{1,4})(?P<value>[A-Za-z0-9+/=._~-]{20,4000})")
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_-]{16,255}"
    r"|sk-(?:[A-Za-z0-9]{1,12}-){0,3}[A-Za-z0-9_-]{20,255}|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,255}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}|hf_[A-Za-z0-9]{20,255}|AIza[A-Za-z0-9_-]{30,100}|ya29\.[A-Za-z0-9_-]{20,500}"
    r"|npm_[A-Za-z0-9]{30,100}|pypi-[A-Za-z0-9_-]{30,500}|dapi[a-f0-9]{32}"
    r"|eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,4000})"
)
_PEM = re.compile(r"(-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----)[A-Za-z0-9+/=\s\\n:,.-]{1,20000}?(-----END)")
_NOT_SECRET = re.compile(r"^(?:\s*|\*+|<[^>]*>|\.\.\.|xxx+|None|null|true|false|utf-?8)$", re.IGNORECASE)

_HINTS = (
    "pass", "pwd", "secret", "token", "key", "credential", "connection", "://", "AKIA", "ASIA", "gh", "glpat",
    "sk-",
    "sk_", "rk_", "pk_", "xox", "hf_", "AIza", "ya29", "npm_", "pypi-", "dapi", "eyJ", "PRIVATE", "earer",
    "asic",
)  # fmt: skip


def redact(text: str) -> str:
    """The text with values that look like secrets replaced by ``***``; other text is returned unchanged.

    It looks at names (``password = "…"``, ``{"api_key": "…"}``, ``%env TOKEN=…``), at well-known key
    shapes, at ``user:password@`` in URLs and at bearer tokens. A secret in an unsuspicious name and shape is
    not seen.
    """
    for scrub in _hidden:
        text = scrub(text)
    lowered = text.lower()
    if not any(hint.lower() in lowered for hint in _HINTS):
        return text
    text = _PEM.sub(rf"\1{BLANK}\2", text)
    text = _SHAPES.sub(BLANK, text)
    text = _URL.sub(rf"\g<head>{BLANK}", text)
    text = _BEARER.sub(rf"\g<head>{BLANK}", text)
    text = _QUOTED.sub(_blank_quoted, text)
    return _BARE.sub(rf"\g<head>{BLANK}", text)


_hidden: list[Callable[[str], str]] = []


def hide(scrub: Callable[[str], str] | None) -> None:
    """Let ``redact`` apply this function too in this process: it takes out values that are known. None: no more."""
    _hidden[:] = [] if scrub is None else [scrub]


def is_secret_name(name: str) -> bool:
    """Whether a variable, column or keyword of this name is taken to hold a secret."""
    return _SECRET_NAME.search(name[:200]) is not None


_SECRET_NAME = re.compile(rf"(?:^|[^A-Za-z]|(?<=[a-z])){_WORD}(?:$|[^A-Za-z])", re.IGNORECASE)


def _blank_quoted(found: re.Match[str]) -> str:
    if _NOT_SECRET.match(found["value"]):
        return found[0]
    return f"{found['head']}{found['quote']}{BLANK}{found['quote']}"
