"""MLflow's filter grammar, read into conditions; no SQL here.

``metrics.acc > 0.9 AND params."learning rate" = '0.1' AND tags.team LIKE 'a%'``. More than MLflow takes: ``IN`` and
``IS [NOT] NULL`` for every kind where it makes sense, and in a quoted value a doubled quote is one quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mlops_jupyter.errors import UsageError


class Kind(StrEnum):
    """What a condition is about."""

    METRIC = "metrics"
    PARAM = "params"
    TAG = "tags"
    ATTRIBUTE = "attributes"
    DATASET = "datasets"


@dataclass(frozen=True, slots=True)
class Condition:
    """``field operator value``: a number, a text, a tuple of texts for IN and NOT IN, None for IS [NOT] NULL."""

    kind: Kind
    key: str
    operator: str
    value: float | str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Order:
    """One key to sort by."""

    kind: Kind
    key: str
    descending: bool


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


_KINDS = {
    "metric": Kind.METRIC, "metrics": Kind.METRIC,
    "parameter": Kind.PARAM, "parameters": Kind.PARAM, "param": Kind.PARAM, "params": Kind.PARAM,
    "tag": Kind.TAG, "tags": Kind.TAG,
    "attribute": Kind.ATTRIBUTE, "attributes": Kind.ATTRIBUTE, "attr": Kind.ATTRIBUTE, "run": Kind.ATTRIBUTE,
    "dataset": Kind.DATASET, "datasets": Kind.DATASET,
}  # fmt: skip
_ALIASES = {
    "created": "start_time", "Created": "start_time", "run name": "run_name", "Run name": "run_name",
    "Run Name": "run_name", "user": "user_id", "name": "run_name",
}  # fmt: skip
NUMERIC_ATTRIBUTES = frozenset({"start_time", "end_time"})
TEXT_ATTRIBUTES = frozenset({"run_id", "mlflow_run_id", "run_name", "status", "user_id", "experiment", "notebook"})
_DATASET_KEYS = frozenset({"name", "digest", "context"})
_COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})
_TEXT_OPERATORS = frozenset({"=", "!=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"})
_NUMBER_OPERATORS = _COMPARISONS | {"IS NULL", "IS NOT NULL"}
_DATASET_OPERATORS = _TEXT_OPERATORS - {"IS NULL", "IS NOT NULL"}

_LEXER = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<field>(?:[A-Za-z_]\w*|`[A-Za-z_]\w*`)\.(?:`[^`]*`|"[^"]*"|[\w/@:.-]+))
  | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
  | (?P<quoted>`[^`]*`)
  | (?P<operator><=|>=|!=|<>|==|=|<|>)
  | (?P<punctuation>[(),])
  | (?P<word>[A-Za-z_]\w*)
    """,
    re.VERBOSE,
)


def parse_filter(text: str) -> list[Condition]:
    """The conditions of a filter, all of which must hold; none for an empty one.

    Raises:
        UsageError: not in the grammar; the message says where.
    """
    parser = _Parser(text, "filter")
    conditions: list[Condition] = []
    while parser.peek() is not None:
        if conditions:
            parser.conjunction()
        conditions.append(parser.condition())
    return conditions


def parse_order(text: str) -> Order:
    """One ``order_by`` clause: a field and, where given, ``ASC`` or ``DESC``.

    Raises:
        UsageError: not in the grammar; the message says where.
    """
    parser = _Parser(text, "order_by clause")
    kind, key, _ = parser.field()
    if kind is Kind.DATASET:
        raise parser.error("runs cannot be sorted by a data set", 0)
    direction = parser.peek()
    descending = False
    if direction is not None:
        if direction.kind != "word" or direction.text.upper() not in ("ASC", "DESC"):
            raise parser.error(f"expected ASC or DESC, found {direction.text!r}", direction.at)
        descending = direction.text.upper() == "DESC"
        parser.next("nothing")
        rest = parser.peek()
        if rest is not None:
            raise parser.error(f"expected the end, found {rest.text!r}", rest.at)
    return Order(kind, key, descending)


class _Parser:
    def __init__(self, text: str, what: str) -> None:
        self._text = text
        self._what = what
        self._tokens = list(self._lex())
        self._index = 0

    def _lex(self) -> Iterator[_Token]:
        at = 0
        while at < len(self._text):
            match = _LEXER.match(self._text, at)
            if match is None:
                found = self._text[at]
                if found in "'\"`":
                    raise self.error(f"the quote {found} is never closed", at)
                raise self.error(f"unexpected {found!r}", at)
            kind = str(match.lastgroup)
            if kind != "space":
                yield _Token(kind, match[0], at)
            at = match.end()

    def error(self, problem: str, at: int) -> UsageError:
        shown = self._text if len(self._text) <= 200 else self._text[:200] + "…"
        return UsageError(
            f"The {self._what} {shown!r} is wrong at character {at + 1}: {problem}.",
            hint="Example: metrics.accuracy > 0.9 AND params.model = 'tree'",
        )

    def peek(self) -> _Token | None:
        return self._tokens[self._index] if self._index < len(self._tokens) else None

    def next(self, expected: str) -> _Token:
        token = self.peek()
        if token is None:
            raise self.error(f"expected {expected}, found the end", len(self._text))
        self._index += 1
        return token

    def _word(self, word: str) -> bool:
        token = self.peek()
        if token is None or token.kind != "word" or token.text.upper() != word:
            return False
        self._index += 1
        return True

    def conjunction(self) -> None:
        token = self.peek()
        if not self._word("AND") and token is not None:
            if token.text.upper() == "OR":
                raise self.error("OR is not part of the grammar; conditions are joined by AND", token.at)
            raise self.error(f"expected AND, found {token.text!r}", token.at)

    def condition(self) -> Condition:
        kind, key, at = self.field()
        operator = self._operator()
        allowed = self._allowed(kind, key)
        if operator not in allowed:
            raise self.error(f"{operator} does not apply to {kind}.{key}; use {', '.join(sorted(allowed))}", at)
        if operator.startswith("IS "):
            return Condition(kind, key, operator, None)
        if operator in ("IN", "NOT IN"):
            return Condition(kind, key, operator, self._list())
        if allowed is _NUMBER_OPERATORS:
            return Condition(kind, key, operator, self._number())
        return Condition(kind, key, operator, self._quoted())

    def field(self) -> tuple[Kind, str, int]:
        """Kind, key and position of the next field; a bare word is an attribute."""
        token = self.next("a field such as metrics.accuracy")
        if token.kind in ("word", "quoted", "text"):
            kind, key = Kind.ATTRIBUTE, token.text
        elif token.kind == "field":
            prefix, key = token.text.split(".", 1)
            found = _KINDS.get(prefix.strip("`"))
            if found is None:
                raise self.error(f"{prefix!r} is none of {', '.join(k.value for k in Kind)}", token.at)
            kind = found
        else:
            raise self.error(f"expected a field such as metrics.accuracy, found {token.text!r}", token.at)
        if key[0] in "`\"'":
            key = key[1:-1]
        if kind is Kind.ATTRIBUTE:
            key = _ALIASES.get(key, key)
            if key not in NUMERIC_ATTRIBUTES and key not in TEXT_ATTRIBUTES:
                known = ", ".join(sorted(NUMERIC_ATTRIBUTES | TEXT_ATTRIBUTES))
                raise self.error(f"there is no attribute {key!r}; known: {known}", token.at)
        if kind is Kind.DATASET and key not in _DATASET_KEYS:
            raise self.error(f"a data set has {', '.join(sorted(_DATASET_KEYS))}, not {key!r}", token.at)
        return kind, key, token.at

    @staticmethod
    def _allowed(kind: Kind, key: str) -> frozenset[str]:
        if kind is Kind.METRIC or (kind is Kind.ATTRIBUTE and key in NUMERIC_ATTRIBUTES):
            return _NUMBER_OPERATORS
        return _DATASET_OPERATORS if kind is Kind.DATASET else _TEXT_OPERATORS

    def _operator(self) -> str:
        token = self.next("an operator")
        if token.kind == "operator" and token.text in _COMPARISONS:
            return token.text
        if token.text in ("==", "<>"):
            raise self.error(f"{token.text} is written {'=' if token.text == '==' else '!='} here", token.at)
        word = token.text.upper() if token.kind == "word" else ""
        if word in ("LIKE", "ILIKE", "IN"):
            return word
        if word == "NOT" and self._word("IN"):
            return "NOT IN"
        if word == "IS":
            negated = self._word("NOT")
            if self._word("NULL"):
                return "IS NOT NULL" if negated else "IS NULL"
        raise self.error(f"expected an operator such as = or LIKE, found {token.text!r}", token.at)

    def _number(self) -> float:
        token = self.next("a number")
        if token.kind != "number":
            raise self.error(f"expected a number without quotes, found {token.text}", token.at)
        return float(token.text)

    def _quoted(self) -> str:
        token = self.next("a value in quotes")
        if token.kind != "text":
            raise self.error(f"expected a value in quotes, found {token.text}", token.at)
        quote = token.text[0]
        return token.text[1:-1].replace(quote * 2, quote)

    def _list(self) -> tuple[str, ...]:
        opening = self.next("a list such as ('a', 'b')")
        if opening.text != "(":
            raise self.error(f"expected a list such as ('a', 'b'), found {opening.text}", opening.at)
        values = [self._quoted()]
        while True:
            token = self.next("a comma or )")
            if token.text == ")":
                return tuple(values)
            if token.text != ",":
                raise self.error(f"expected a comma or ), found {token.text}", token.at)
            following = self.peek()
            if following is not None and following.text == ")":  # a comma before the end, as Python writes ('a',)
                continue
            values.append(self._quoted())
