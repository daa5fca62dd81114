"""Secrets as parameters: a reference ``env:NAME`` is given and recorded, the value is read in the kernel alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from mlops_jupyter.analysis.scrubbing import SHORTEST, Scrubber
from mlops_jupyter.analysis.secrets import is_secret_name
from mlops_jupyter.errors import UsageError

from .coercion import Kind

_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]{0,200})")

_READ = re.compile(
    r"""(?P<ours>__import__\(["']os["']\)\.)?(?:environ(?:\.get\(|\[)|getenv\()\s{0,20}"""
    r"""["'](?P<name>[A-Za-z_][A-Za-z0-9_]{0,200})["']"""
)

VARIABLE = "MLOPS_SECRETS"
"""Environment variable of the kernel: names (not values) of variables that hold secrets, with commas between."""

Message = dict[str, Any]


class Reference(str):
    """``env:NAME``: stands for the value of an environment variable of the kernel."""

    __slots__ = ()

    @property
    def variable(self) -> str:
        """The variable's name."""
        return self[4:]

    @property
    def code(self) -> str:
        """Python that reads it and leaves no name behind."""
        return f'__import__("os").environ["{self.variable}"]'


def as_reference(value: Any, kind: Kind) -> Any:
    """``value``, as a ``Reference`` where it is one and a parameter of this kind takes text."""
    kinds = {kind.name, *(argument.name for argument in kind.arguments)} if kind.name == "union" else {kind.name}
    if isinstance(value, str) and kinds & {"str", "any"} and _REFERENCE.fullmatch(value):
        return Reference(value)
    return value


def check_references(values: Mapping[str, Any]) -> list[str]:
    """Warnings about the references among the values.

    Raises:
        UsageError: a variable that is not set, or empty.
    """
    warnings = []
    for name, value in values.items():
        if not isinstance(value, Reference):
            continue
        secret = os.environ.get(value.variable, "")
        if not secret:
            state = "empty" if value.variable in os.environ else "not set"
            raise UsageError(
                f"Parameter {name!r} refers to the environment variable {value.variable}, which is {state}.",
                hint=f"Set it, or give another reference: -p {name} env:OTHER_NAME.",
            )
        if len(secret) < SHORTEST:
            warnings.append(
                f"The value of {value.variable} is shorter than {SHORTEST} characters: it is not taken out of outputs."
            )
    return warnings


def variables(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The variables that the references among the values name, each once."""
    return tuple(dict.fromkeys(value.variable for value in values.values() if isinstance(value, Reference)))


def read_by_code(sources: Iterable[str]) -> tuple[str, ...]:
    """Environment variables that cells read and whose values are secrets, each once.

    Those of our own references, which a recorded or converted notebook of an earlier run holds as code, and those with
    the name of a secret.
    """
    found: dict[str, None] = {}
    for source in sources:
        for match in _READ.finditer(source):
            if match["ours"] or is_secret_name(match["name"]):
                found[match["name"]] = None
    return tuple(found)


def scrubber(names: Sequence[str]) -> Scrubber | None:
    """What takes the values of these variables out of text; None where there is nothing to take out."""
    found = Scrubber(os.environ.get(name, "") for name in names)
    return found if found else None


class MessageScrubber:
    """Takes secrets out of a kernel's messages, also where one is split over two messages of a stream."""

    def __init__(self, scrub: Scrubber) -> None:
        self._scrub = scrub
        self._held: dict[str, tuple[Message, str]] = {}

    def iopub(self, messages: Sequence[Message]) -> list[Message]:
        """The messages to pass on: the end of a stream waits while it may be the beginning of a value."""
        passed: list[Message] = []
        for message in messages:
            if message["msg_type"] != "stream":
                passed += self.flush()
                passed.append(self.one(message))
                continue
            name = str(message["content"].get("name", ""))
            before = self._held.pop(name, None)
            text, rest = self._scrub.split((before[1] if before else "") + str(message["content"].get("text", "")))
            if rest:
                self._held[name] = (message, rest)
            if text:
                passed.append(_with_text(message, text))
        return passed

    def flush(self) -> list[Message]:
        """What was held back."""
        held, self._held = self._held, {}
        return [_with_text(message, text) for message, text in held.values()]

    def one(self, message: Message) -> Message:
        """A message of any other kind."""
        return {**message, "content": self._scrub.data(message["content"])}


def _with_text(message: Message, text: str) -> Message:
    return {**message, "content": {**message["content"], "text": text}}


class ScrubbedLog:
    """A pipe whose text reaches a file without the secrets: for what a kernel process writes by itself."""

    def __init__(self, path: Path, scrub: Scrubber) -> None:
        self._path = path
        self._scrub = scrub
        self._reader, self.writer = os.pipe()
        self._thread = Thread(target=self._copy, name="mlops-kernel-log", daemon=True)

    def start(self) -> None:
        """Begin, once the kernel process has the pipe's writing end."""
        os.close(self.writer)
        self._thread.start()

    def _copy(self) -> None:
        rest = ""
        with os.fdopen(self._reader, "rb", buffering=0) as source, self._path.open("ab", buffering=0) as log:
            pending = b""
            while piece := source.read(65536):
                pending += piece
                text, pending = _decoded(pending)
                text, rest = self._scrub.split(rest + text)
                log.write(text.encode("utf-8", "surrogateescape"))
            log.write(
                self._scrub.text(rest + pending.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
            )

    def close(self, timeout: float = 2.0) -> None:
        """Wait until all is written; a process that the kernel left behind may hold the pipe open for longer."""
        self._thread.join(timeout)


def _decoded(data: bytes) -> tuple[str, bytes]:
    """Text, and bytes at the end that are an unfinished character."""
    for cut in range(min(3, len(data)) + 1):
        head = data[: len(data) - cut] if cut else data
        try:
            return head.decode("utf-8"), data[len(head) :]
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "surrogateescape"), b""
