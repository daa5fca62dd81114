"""What the text of a cell says: names read and written, calls, literals, magics. Pure; standard library
only.
"""

from __future__ import annotations

from ._analyze import analyze, analyze_tree
from ._calls import FIT_METHODS, SCORE_FUNCTIONS
from ._literals import NotLiteralError, literal_value
from ._model import (
    Assignment,
    Branch,
    Call,
    CallKind,
    CellAnalysis,
    Delete,
    Displayed,
    Function,
    Import,
    KeywordLiteral,
    KnownCall,
    Literal,
    Load,
    Magic,
    PathLiteral,
    Statement,
    Store,
    Touch,
    TouchKind,
    ValueKind,
    Where,
)
from .secrets import redact

__all__ = [
    "FIT_METHODS",
    "SCORE_FUNCTIONS",
    "Assignment",
    "Branch",
    "Call",
    "CallKind",
    "CellAnalysis",
    "Delete",
    "Displayed",
    "Function",
    "Import",
    "KeywordLiteral",
    "KnownCall",
    "Literal",
    "Load",
    "Magic",
    "NotLiteralError",
    "PathLiteral",
    "Statement",
    "Store",
    "Touch",
    "TouchKind",
    "ValueKind",
    "Where",
    "analyze",
    "analyze_tree",
    "literal_value",
    "redact",
]
