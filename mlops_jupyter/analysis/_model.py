"""What the analysis of one cell says, as frozen values. No behaviour beyond lookups."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

Literal: TypeAlias = (
    "None | bool | int | float | complex | str | bytes | list[Literal] | tuple[Literal, ...] | set[Literal] "  # noqa: RUF036
    "| dict[Literal, Literal]"
)
"""A value that the source text alone determines."""


class TouchKind(StrEnum):
    """How a statement can change the object behind a name without rebinding the name."""

    ITEM = "item"
    """``x[i] = v``, ``del x[i]``"""
    ATTRIBUTE = "attribute"
    """``x.a = v``, ``del x.a``"""
    AUGMENTED = "augmented"
    """``x += v``, ``x[i] += v``"""
    INPLACE = "inplace"
    """``x.f(inplace=True)``"""
    OUT = "out"
    """``f(..., out=x)``"""
    RECEIVER = "receiver"
    """``x.f()``; ``detail`` is the method."""
    ARGUMENT = "argument"
    """``f(x)``; ``detail`` is the callee where it is a dotted name."""
    CALLEE = "callee"
    """``x()``"""
    ITERATED = "iterated"
    """``for … in x``: changes iterators only."""
    CONTEXT = "context"
    """``with x:``, ``await x``"""
    CONDITIONAL_STORE = "conditional store"
    """``x`` may have been rebound by a store that the source shows but the run may have passed by."""

    @property
    def explicit(self) -> bool:
        """True where the source text alone says that the object is written to."""
        return self in _EXPLICIT


_EXPLICIT = frozenset({TouchKind.ITEM, TouchKind.ATTRIBUTE, TouchKind.AUGMENTED})


class ValueKind(StrEnum):
    """The right-hand side of an assignment, as far as parameters and metrics care."""

    LITERAL = "literal"
    LEN = "len"
    """``len(…)``"""
    SHAPE = "shape"
    """``….shape``, ``….shape[0]``, ``….size``, ``….ndim``"""
    CLOCK = "clock"
    """``time.time()``, ``perf_counter()`` …: a point in time measures nothing by itself."""
    OTHER = "other"


class CallKind(StrEnum):
    """Calls that a run cares about."""

    FIT = "fit"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class Where:
    """A place in the analysed text. ``line`` counts from 1, ``statement`` numbers top-level statements
    from 0.
    """

    line: int
    statement: int
    branch: int = -1
    """Index into ``CellAnalysis.branches`` of the innermost branch, -1 for none."""
    loop: bool = False
    """Inside of a loop, so that what comes later in the text may have run before."""


@dataclass(frozen=True, slots=True)
class Load:
    """A global name is read. ``exposed``: not after a certain store in the same cell."""

    name: str
    at: Where
    exposed: bool
    deferred: bool = False
    """Inside of a lambda or generator expression, so it may run later or never."""
    certain: bool = True
    """Not in a loop's body, an operand of ``and``, a branch without a probe …"""


@dataclass(frozen=True, slots=True)
class Store:
    """A global name is bound. ``certain``: always, once its branch (if any) is entered and the line is
    passed.
    """

    name: str
    at: Where
    certain: bool


@dataclass(frozen=True, slots=True)
class Delete:
    """``del name``."""

    name: str
    at: Where
    certain: bool


@dataclass(frozen=True, slots=True)
class Touch:
    """The object behind ``name`` is changed, or may be."""

    name: str
    kind: TouchKind
    at: Where
    detail: str = ""
    direct: bool = True
    """The name itself (``x[0] = 1``), not something reached through it (``x.a[0] = 1``, ``f(x)[0] = 1``)."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose callee is a dotted name, ``np.random.seed``."""

    callee: str
    at: Where
    certain: bool
    discarded: bool = False
    """The result is thrown away: a statement of its own."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function, lambda or generator expression with the globals that its body reads and writes.

    ``qualname`` and ``line`` are those of its code object (``co_qualname``, ``co_firstlineno``). Lambdas,
    comprehensions and classes inside are counted in; functions defined with ``def`` inside have an entry of
    their own.
    """

    name: str
    qualname: str
    line: int
    position: tuple[int, int]
    """Line and column of the node."""
    reads: frozenset[str]
    writes: frozenset[str]
    touches: tuple[Touch, ...]
    calls: tuple[Call, ...]
    attributes: frozenset[str] = frozenset()
    """Names of attributes that it loads."""
    decorators: tuple[str, ...] = ()
    is_lambda: bool = False
    """A lambda or generator expression: it gets no entry probe."""
    dynamic: bool = False
    end_line: int = 0
    """Last line of its body."""


@dataclass(frozen=True, slots=True)
class Branch:
    """The body of an ``if``, ``else``, ``except``, ``case`` at module level, outside of loops."""

    parent: int
    position: tuple[int, int]
    """Line and column of its first statement."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """``name = value`` at top level, for names alone (also ``with … as``-less annotated assignments and
    walrus).
    """

    name: str
    kind: ValueKind
    line: int
    literal: Literal = None
    """The value where ``kind`` is LITERAL. Treat it as read-only."""
    annotation: str | None = None
    certain: bool = True


@dataclass(frozen=True, slots=True)
class KeywordLiteral:
    """``callee(keyword=value)`` with a literal value; the position is that of the value's node."""

    callee: str
    keyword: str
    value: Literal
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A call that fits an estimator or computes a score."""

    kind: CallKind
    callee: str
    """``model.fit``, ``metrics.f1_score``, as text."""
    function: str
    """The last part of the callee: ``fit``, ``f1_score``."""
    receiver: str | None
    """Text before the last dot, None for a plain name."""
    arguments: tuple[str, ...]
    """Positional arguments, as text."""
    keywords: tuple[tuple[str, str], ...]
    """Keyword arguments, as text; ``**kwargs`` has the keyword ``**``."""
    targets: tuple[str, ...]
    """Names that the statement assigns the call's result to (empty where it is part of a larger
    expression).
    """
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Import:
    """``import module as bound`` or ``from module import name as bound``; ``*`` binds what is there."""

    module: str
    name: str | None
    bound: str
    line: int
    level: int = 0


@dataclass(frozen=True, slots=True)
class PathLiteral:
    """A string that looks like a path or URL."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Magic:
    """``%name line``, ``%%name line`` with a body, ``!line`` (name ``system`` or ``getoutput``)."""

    name: str
    line: str
    body: str | None
    at_line: int


@dataclass(frozen=True, slots=True)
class Displayed:
    """The last expression of the cell, which the notebook shows."""

    text: str
    names: tuple[str, ...]
    """Global names in it."""
    name: str | None
    """The name where the expression is one."""
    line: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A top-level statement's extent."""

    line: int
    end_line: int
    compound: bool
    loop: bool


@dataclass(frozen=True, slots=True)
class CellAnalysis:
    """All that the text of one cell says. Immutable and shared: never change a literal in it."""

    loads: tuple[Load, ...] = ()
    stores: tuple[Store, ...] = ()
    deletes: tuple[Delete, ...] = ()
    touches: tuple[Touch, ...] = ()
    calls: tuple[Call, ...] = ()
    functions: tuple[Function, ...] = ()
    classes: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()
    statements: tuple[Statement, ...] = ()
    derived: tuple[tuple[str, frozenset[str]], ...] = ()
    """(name, names that the expression it was bound from loads): it may be a view of any of them."""
    assignments: tuple[Assignment, ...] = ()
    loop_targets: frozenset[str] = frozenset()
    keyword_literals: tuple[KeywordLiteral, ...] = ()
    known_calls: tuple[KnownCall, ...] = ()
    imports: tuple[Import, ...] = ()
    star_imports: tuple[str, ...] = ()
    path_literals: tuple[PathLiteral, ...] = ()
    magics: tuple[Magic, ...] = ()
    displayed: Displayed | None = None
    attributes: frozenset[str] = frozenset()
    """Names of attributes that it loads, outside of functions defined with ``def``."""
    outputs_read: tuple[int, ...] = ()
    """``Out[n]`` with a literal n."""
    dynamic: bool = False
    """It uses ``exec``, ``eval``, ``globals`` and the like: the text does not say which names it reads and
    writes.
    """
    active: bool = False
    """It does more than bind constants, names and functions: hidden state may change."""
    wrapped: bool = False
    """The whole cell is the body of a cell magic; lines count inside of that body."""
    coarse: bool = False
    """Too deep to be walked in order: names are known, certainty is not."""
    syntax_error: str | None = None
    literals: dict[str, Literal] = field(default_factory=dict)
    """Name to literal, for names whose last certain assignment is one."""
