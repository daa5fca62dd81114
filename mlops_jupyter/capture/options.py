"""The line of ``%%track``: reading its options, and finding it in a cell. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlops_jupyter.errors import UsageError

USAGE = "%%track [NAME] [-e EXPERIMENT] [-t KEY=VALUE]… [-p NAME]… [-m NAME]… [--seed N]"

_LONG = {"--experiment": "-e", "--tag": "-t", "--param": "-p", "--metric": "-m"}
_EXPECTED = {
    "-e": "the name of an experiment",
    "-t": "KEY=VALUE",
    "-p": "the name of a variable",
    "-m": "the name of a variable",
    "--seed": "a whole number from 0 to 4294967295",
}
_TRACK = re.compile(r"%%track(?![\w?])(?P<line>[^\n?]*)(?<!\?)$")
_WRAPPING = re.compile(r"%%(?:time|timeit|capture|prun)\b")


@dataclass(frozen=True, slots=True)
class TrackOptions:
    """What the line of ``%%track`` says."""

    name: str | None = None
    experiment: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    seed: int | None = None


def parse_options(line: str) -> TrackOptions:
    """Read the words after ``%%track``.

    Raises:
        UsageError: an unknown option, or a value that is missing or of the wrong kind.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%%track: the line cannot be read ({error}).", hint=f"Usage: {USAGE}") from None
    name: str | None = None
    experiment: str | None = None
    tags: dict[str, str] = {}
    params: list[str] = []
    metrics: list[str] = []
    seed: int | None = None
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-"):
            if name is not None:
                raise UsageError(
                    f"%%track takes one NAME, got {name!r} and {word!r}.",
                    hint="Put a name with blanks in quotes.",
                )
            name = word
            continue
        option, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        option = _LONG.get(option, option)
        if option not in _EXPECTED:
            raise UsageError(f"%%track has no option {word!r}.", hint=f"Usage: {USAGE}")
        if not equals:
            if position >= len(words):
                raise UsageError(f"%%track: {word} expects {_EXPECTED[option]}, got nothing.")
            value = words[position]
            position += 1
        if option == "-e":
            experiment = _non_empty(option, value)
        elif option == "-t":
            key, equals, text = value.partition("=")
            if not equals or not key:
                raise UsageError(f"%%track: -t expects {_EXPECTED[option]}, got {value!r}.")
            tags[key] = text
        elif option == "-p":
            params.append(_identifier(option, value))
        elif option == "-m":
            metrics.append(_identifier(option, value))
        else:
            seed = _seed(value)
    return TrackOptions(name, experiment, tags, tuple(params), tuple(metrics), seed)


def _non_empty(option: str, value: str) -> str:
    if not value.strip():
        raise UsageError(f"%%track: {option} expects {_EXPECTED[option]}, got {value!r}.")
    return value


def _identifier(option: str, value: str) -> str:
    if not value.isidentifier():
        raise UsageError(f"%%track: {option} expects {_EXPECTED[option]}, got {value!r}.")
    return value


def _seed(value: str) -> int:
    # numpy takes 32 bits, so that one number seeds every generator alike.
    if not value.isascii() or not value.isdigit() or int(value) >= 2**32:
        raise UsageError(f"%%track: --seed expects {_EXPECTED['--seed']}, got {value!r}.")
    return int(value)


def find_track_line(lines: list[str]) -> tuple[int, str] | None:
    """Index of the line of ``%%track`` in a cell and the words after it, or None.

    It is the first line that is not blank, or stands among leading ``%%time``, ``%%timeit``, ``%%capture``
    or ``%%prun``.
    """
    for index, line in enumerate(lines):
        text = line.strip()
        if not text:
            continue
        found = _TRACK.match(text)
        if found:
            return index, found["line"]
        if not _WRAPPING.match(text):
            return None
    return None


def remove_track_line(lines: list[str]) -> list[str]:
    """The cell without its ``%%track`` line.

    The line becomes an empty one, so that line numbers in tracebacks stay those that the user sees; where
    another cell magic follows it goes altogether, because IPython looks for that one in the first line.

    Raises:
        UsageError: the options are wrong.
    """
    found = find_track_line(lines)
    if found is None:
        return lines
    index, line = found
    parse_options(line)
    rest = lines[index + 1 :]
    follows = next((text for text in rest if text.strip()), "")
    if index or follows.lstrip().startswith("%%"):
        return [*lines[:index], *rest]
    return ["\n", *rest]
