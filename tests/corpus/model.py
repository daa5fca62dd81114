"""What a case of the corpus is: a notebook as a program, and the order in which somebody ran it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Markdown:
    """A cell of text."""

    source: str


@dataclass(frozen=True, slots=True)
class Edit:
    """The text of a cell is changed, and not run."""

    cell: int
    source: str


@dataclass(frozen=True, slots=True)
class Delete:
    """A cell is deleted."""

    cell: int


@dataclass(frozen=True, slots=True)
class Restart:
    """The kernel is restarted."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A cell is run and stopped after some seconds."""

    cell: int
    after: float = 0.3


@dataclass(frozen=True, slots=True)
class Write:
    """A file is written by somebody else, an editor for instance."""

    path: str
    text: str


Step: TypeAlias = "int | Edit | Delete | Restart | Interrupt | Write"
"""A number runs that cell."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A notebook with one kind of mess."""

    name: str
    mess: str
    """In a sentence."""
    cells: Sequence[str | Markdown]
    steps: Sequence[Step] | None = None
    """What was done; None: each code cell once, from top to bottom."""
    target: str
    """The variable that is wanted."""
    kept: Sequence[int] | None = None
    """Positions that the slice must hold, among the executions of the session that made the target; None: not said."""
    refused: str | None = None
    """A pattern of the one sentence that says why it is not converted."""
    grade: Literal["A", "B", "C"] | None = "A"
    """What verification gives; None where it is refused."""
    value: str | None = None
    """An expression that must have the same value after the slice ran in a fresh kernel; None: the target."""
    equals: str | None = None
    """``repr`` of that value where the case knows it; then the mess is known to have happened, too."""
    random: bool = False
    """Another run gives another value, whatever is kept: that it runs is all that can be asked."""
    parameters: Sequence[str] = ()
    """Names that a person would want to set (``a|b``: either will do)."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text of the files beside the notebook, by their path from the workspace's root."""
    notebook: str = "work.ipynb"
    answers: Sequence[str] = ()
    """What is typed where a cell asks for input."""
    kernel: Literal["shell", "real"] = "shell"
    """``real``: only a kernel process shows it."""
    language: str = "python"
    static: Literal["right", "refused", "broken", "random"] = "right"
    """What becomes of the same file without a history: ``right``: the value that running it from top to bottom
    gives; ``broken``: it cannot be run from top to bottom; ``refused``; ``random``."""

    @property
    def code(self) -> tuple[int, ...]:
        """Numbers of the cells that hold code."""
        return tuple(i for i, cell in enumerate(self.cells) if isinstance(cell, str))

    @property
    def played(self) -> tuple[Step, ...]:
        """The steps, spelled out."""
        return self.code if self.steps is None else tuple(self.steps)

    @property
    def checked(self) -> str:
        """The expression that is compared."""
        return self.target if self.value is None else self.value
