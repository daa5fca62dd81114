"""One fixed, reversible escape for names that MLflow does not take. Pure functions.

MLflow accepts word characters, ``/``, ``.``, ``-``, blank and ``:``, at most 250 of them, and refuses names
that a file system would resolve to another one (``a//b``, ``../a``, ``a/``). Everything else becomes
``_xHEX_``, the way spreadsheets write it: ``f1 (macro)`` is ``f1 _x28_macro_x29_``. A name too long for that
keeps its beginning and ends in ``_x1_`` and its SHA-256; the full name is then kept beside the run (see
``files``).
"""

from __future__ import annotations

import hashlib
import re

KEY_LIMIT = 250
"""Characters that MLflow takes in a name."""

_EMPTY = "_x0_"
_SHORTENED = "_x1_"
_PLAIN = re.compile(r"[\w.\- :]")
_ESCAPE = re.compile(r"_x([0-9A-F]{1,6})_")
_LOOKS_ESCAPED = re.compile(r"_x[0-9A-F]")
_DIGEST_LENGTH = 32


def escape_key(key: str) -> str:
    """The name under which MLflow holds ``key``: the same where it takes that, never one of another key."""
    if key == "":
        return _EMPTY
    pieces = [_escaped(key, index) for index in range(len(key))]
    if sum(map(len, pieces)) <= KEY_LIMIT:
        return "".join(pieces)
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    room = KEY_LIMIT - len(_SHORTENED) - len(digest)
    kept = ""
    for piece in pieces:
        if len(kept) + len(piece) > room:
            break
        kept += piece
    return kept + _SHORTENED + digest


def unescape_key(name: str) -> str:
    """The key that ``escape_key`` made ``name`` from; of a shortened one what is left of it, then ``…``."""
    if name == _EMPTY:
        return ""
    cut = _shortened_at(name)
    return _unescaped(name) if cut is None else _unescaped(name[:cut]) + "…"


def is_shortened(key: str) -> bool:
    """Whether ``key`` is too long for MLflow, so that its name there does not say all of it."""
    return _shortened_at(escape_key(key)) is not None


def _shortened_at(name: str) -> int | None:
    # Only a whole escape counts: the name of the key ``_x1_`` is ``_x5F_x1_``, which merely contains the
    # mark.
    for match in _ESCAPE.finditer(name):
        if match.group() == _SHORTENED:
            return match.start()
    return None


def _escaped(key: str, index: int) -> str:
    character = key[index]
    if character == "/":
        # An empty segment, or a slash at either end, is a path that normalises to another one.
        safe = 0 < index < len(key) - 1 and key[index - 1] != "/"
    elif character == ".":
        safe = not _begins_dotted_segment(key, index)
    elif character == "_":
        safe = not _LOOKS_ESCAPED.match(key, index)
    else:
        safe = _PLAIN.fullmatch(character) is not None
    return character if safe else f"_x{ord(character):02X}_"


def _begins_dotted_segment(key: str, index: int) -> bool:
    """Whether the dot begins a segment ``.`` or ``..``, or a name that begins with two dots."""
    if index > 0 and key[index - 1] != "/":
        return False
    segment = key[index:].split("/", 1)[0]
    return segment in {".", ".."} or (index == 0 and segment.startswith(".."))


def _unescaped(name: str) -> str:
    return _ESCAPE.sub(lambda match: _character(match.group(1), match.group(0)), name)


def _character(digits: str, whole: str) -> str:
    code = int(digits, 16)
    return chr(code) if len(digits) > 1 and code <= 0x10FFFF else whole
