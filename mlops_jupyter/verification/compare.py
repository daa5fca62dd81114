"""What two executions of the same cells left, held against each other. Pure."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from mlops_jupyter.analysis.secrets import BLANK

TOLERANCE = 1e-6
"""Relative difference up to which two numbers agree."""

_EXACT_SUMMARY = frozenset({"NoneType", "bool", "int", "float", "complex"})
_NO_VALUE = frozenset({"module"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What is known of a variable's value after a cell."""

    digest: str | None
    summary: str | None
    type_name: str | None
    grade: str = "exact"
    """How well it is known that the cell wrote it."""
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one execution of one cell left."""

    key: str
    """Id of the recorded execution that it is, or is a replay of."""
    label: str
    """For people: ``In [3]``."""
    cell_id: str | None
    position: int
    variables: Mapping[str, Value] = field(default_factory=dict)
    files: Mapping[str, str | None] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    """Its text outputs, normalised; None where they are not known."""


class Agreement(StrEnum):
    """How two values compare."""

    SAME = "same"
    CLOSE = "close"
    """Numbers within the tolerance."""
    DIFFERENT = "different"
    UNKNOWN = "unknown"
    """Too little is known of one of them."""


Kind = Literal["variable", "metric", "parameter", "file", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not the same."""

    key: str
    kind: Kind
    name: str
    """Of the variable, metric, parameter or file; empty for outputs."""
    expected: str
    got: str
    close: bool
    """Whether it is within the tolerance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All differences in the order of the cells, and how much was compared."""

    differences: tuple[Difference, ...]
    same: int
    """Values, metrics, parameters, files and outputs that are exactly the same."""
    unknown: int
    """Variables of which too little was recorded."""
    metrics: int
    """Metrics that were compared."""

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def without(self, left_out: Iterable[Difference]) -> Comparison:
        """Without some differences."""
        gone = set(left_out)
        return replace(self, differences=tuple(d for d in self.differences if d not in gone))


def compare_facts(
    expected: Sequence[Facts],
    got: Mapping[str, Facts],
    *,
    elsewhere: Mapping[str, Value] | None = None,
    tolerance: float = TOLERANCE,
) -> Comparison:
    """Hold what ``got`` left, by key, against what is expected.

    ``elsewhere``: variables that cells without a counterpart wrote (imports and parameters that were moved), looked
    up where a cell does not write a name any more.
    """
    differences: list[Difference] = []
    counts = {Agreement.SAME: 0, Agreement.UNKNOWN: 0, Agreement.CLOSE: 0, Agreement.DIFFERENT: 0}
    metrics = 0
    for facts in expected:
        other = got.get(facts.key)
        empty = other is None
        other = other or Facts(key=facts.key, label=facts.label, cell_id=None, position=facts.position)

        def note(kind: Kind, name: str, want: str, have: str, agreement: Agreement, key: str = facts.key) -> None:
            counts[agreement] += 1
            if agreement in (Agreement.CLOSE, Agreement.DIFFERENT):
                differences.append(
                    Difference(
                        key=key, kind=kind, name=name, expected=want, got=have, close=agreement is Agreement.CLOSE
                    )
                )

        for name, value in facts.variables.items():
            if value.type_name in _NO_VALUE:
                continue
            found = other.variables.get(name) or (elsewhere or {}).get(name)
            if found is None:
                if not value.deleted and value.grade != "assumed" and not _is_definition(value):
                    note("variable", name, shown(value), "not assigned", Agreement.DIFFERENT)
                continue
            note("variable", name, shown(value), shown(found, value), compare_values(value, found, tolerance=tolerance))
        if empty:
            continue
        for name, number in facts.metrics.items():
            metrics += 1
            have = other.metrics.get(name)
            text = "none" if have is None else repr(have)
            note("metric", name, repr(number), text, compare_numbers(number, have, tolerance=tolerance))
        for name, text in facts.params.items():
            if name in other.params:
                agreement = _compare_shown(text, other.params[name], tolerance)
                note("parameter", name, text, other.params[name], agreement)
        for name, digest in facts.files.items():
            temporary = _after_temporary(name)
            if name not in other.files and temporary is not None:  # ``tempfile`` gives another name each time
                again = next((d for n, d in other.files.items() if _after_temporary(n) == temporary), None)
                note("file", name, digest or "", again or "", compare_digests(digest, again))
            elif name not in other.files:
                note("file", name, digest or "written", "not written", Agreement.DIFFERENT)
            else:
                note("file", name, digest or "", other.files[name] or "", compare_digests(digest, other.files[name]))
        if facts.text is not None and other.text is not None:
            agreement = _compare_shown(facts.text, other.text, tolerance)
            note("output", "", *_first_line(facts.text, other.text), agreement)
    return Comparison(
        differences=tuple(differences), same=counts[Agreement.SAME], unknown=counts[Agreement.UNKNOWN], metrics=metrics
    )


_TEMPORARY = re.compile(r".*/tmp[a-z0-9_]{8}(?![a-z0-9_])")


def _after_temporary(name: str) -> str | None:
    """What follows the name that ``tempfile`` made up; None where there is none in it."""
    found = _TEMPORARY.match(name)
    return None if found is None else name[found.end() :]


def in_order_of_text(variables: Mapping[str, Value], source: str) -> dict[str, Value]:
    """Variables in the order in which a cell's text names them, so that the first difference is told first."""
    places: dict[str, int] = {}
    for match in re.finditer(r"[^\W\d]\w*", source):
        places.setdefault(match[0], match.start())
    return dict(sorted(variables.items(), key=lambda item: places.get(item[0], len(source))))


def compare_values(expected: Value, got: Value, *, tolerance: float = TOLERANCE) -> Agreement:
    """How two values of one variable compare."""
    if expected.deleted or got.deleted:
        return Agreement.SAME if expected.deleted == got.deleted else Agreement.DIFFERENT
    if None in (expected.type_name, got.type_name):
        return Agreement.UNKNOWN
    if expected.type_name != got.type_name:
        return Agreement.DIFFERENT
    if BLANK in (expected.summary or "") or BLANK in (got.summary or ""):
        return Agreement.UNKNOWN  # a secret was taken out of one of them
    by_digest = compare_digests(expected.digest, got.digest)
    if by_digest in (Agreement.SAME, Agreement.CLOSE):
        return by_digest
    if expected.summary == got.summary:
        if expected.type_name in _EXACT_SUMMARY:
            return Agreement.SAME
        return by_digest
    return compare_texts(expected.summary or "", got.summary or "", tolerance=tolerance)


def _compare_shown(expected: str, got: str, tolerance: float) -> Agreement:
    """As ``compare_texts``; where a secret was taken out of one of two different texts, nothing can be told."""
    if expected != got and (BLANK in expected) != (BLANK in got):
        return Agreement.UNKNOWN
    return compare_texts(expected, got, tolerance=tolerance)


def compare_digests(expected: str | None, got: str | None) -> Agreement:
    """Digests of one algorithm compare; others do not. After ``~`` stands the one with rounded floats."""
    if expected is None or got is None or expected.partition(":")[0] != got.partition(":")[0]:
        return Agreement.UNKNOWN
    exact, _, rounded = expected.partition("~")
    other_exact, _, other_rounded = got.partition("~")
    if exact == other_exact:
        return Agreement.SAME
    return Agreement.CLOSE if rounded and rounded == other_rounded else Agreement.DIFFERENT


def compare_numbers(expected: float, got: float | None, *, tolerance: float = TOLERANCE) -> Agreement:
    """Two numbers; NaN is the same as NaN."""
    if got is None:
        return Agreement.DIFFERENT
    if expected == got or (math.isnan(expected) and math.isnan(got)):
        return Agreement.SAME
    return Agreement.CLOSE if math.isclose(expected, got, rel_tol=tolerance) else Agreement.DIFFERENT


def compare_texts(expected: str, got: str, *, tolerance: float = TOLERANCE) -> Agreement:
    """The same text, or the same text but for numbers within the tolerance."""
    if expected == got:
        return Agreement.SAME
    left, right = _literal(expected), _literal(got)
    if left is not None and right is not None:
        return Agreement.CLOSE if _close(left, right, tolerance) else Agreement.DIFFERENT
    words, others = expected.split(), got.split()
    if (
        len(words) == len(others)
        and len(words) < 10_000
        and all(a == b or _close_words(a, b, tolerance) for a, b in zip(words, others, strict=True))
    ):
        return Agreement.CLOSE
    return Agreement.DIFFERENT


def _close_words(expected: str, got: str, tolerance: float) -> bool:
    try:
        numbers = float(expected.strip("[](),:;%")), float(got.strip("[](),:;%"))
    except ValueError:
        return False
    # What is written without a point or exponent is a count: it is the same or it is not.
    return any(c in expected for c in ".e") and math.isclose(*numbers, rel_tol=tolerance)


def _literal(text: str) -> Any:
    """The plain value that a summary shows, or None."""
    if len(text) > 400:
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, int | float | complex | list | tuple | dict) else None


def _close(expected: Any, got: Any, tolerance: float) -> bool:
    if type(expected) is not type(got):
        return False
    if isinstance(expected, float):
        return math.isclose(expected, got, rel_tol=tolerance) or (math.isnan(expected) and math.isnan(got))
    if isinstance(expected, complex):
        return bool(abs(expected - got) <= tolerance * max(abs(expected), abs(got)))
    if isinstance(expected, dict):
        return expected.keys() == got.keys() and all(_close(v, got[k], tolerance) for k, v in expected.items())
    if isinstance(expected, list | tuple):
        return len(expected) == len(got) and all(_close(a, b, tolerance) for a, b in zip(expected, got, strict=True))
    return bool(expected == got)


def shown(value: Value, beside: Value | None = None) -> str:
    """A value for people, with its digest where its summary does not tell it from another."""
    if value.deleted:
        return "deleted"
    text = value.summary or value.type_name or "?"
    if value.digest is not None and (beside is None or beside.summary == value.summary):
        if value.type_name in _EXACT_SUMMARY or (value.type_name == "str" and "…" not in text):
            return text
        return f"{text} ({value.digest.partition(':')[2][:8]})"
    return text


def _is_definition(value: Value) -> bool:
    """Whether it is a function, class or module: what it is made of is its text."""
    return value.type_name in ("function", "type", "module", "builtin_function_or_method", "abc.ABCMeta")


def _first_line(expected: str, got: str) -> tuple[str, str]:
    left, right = expected.split("\n"), got.split("\n")
    for a, b in zip(left, right, strict=False):
        if a != b:
            return a[:200], b[:200]
    number = min(len(left), len(right))
    return "\n".join(left[number:])[:200] or "nothing more", "\n".join(right[number:])[:200] or "nothing more"
