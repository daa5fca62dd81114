"""What of a cell is a parameter and what is a metric. Pure functions over the analysis of cells and values.

Nothing is evaluated that the cell did not evaluate: values come from literals in the text, from the
namespace and from calls that ran.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_jupyter.analysis import CellAnalysis, TouchKind, ValueKind
from mlops_jupyter.entities import Param, ParamSource

VALUE_LIMIT = 500
"""Characters of a literal; a longer one is data or text rather than a parameter."""

_SHOWING = frozenset(
    [
        "annotate",
        "axhline",
        "axvline",
        "bar",
        "barh",
        "boxplot",
        "colorbar",
        "contour",
        "contourf",
        "describe",
        "display",
        "errorbar",
        "figure",
        "fill_between",
        "format",
        "grid",
        "head",
        "heatmap",
        "hist",
        "imshow",
        "info",
        "join",
        "legend",
        "lineplot",
        "log",
        "log_artifact",
        "log_figure",
        "log_metric",
        "log_metrics",
        "log_param",
        "log_params",
        "plot",
        "pie",
        "print",
        "savefig",
        "scatter",
        "scatterplot",
        "set",
        "set_title",
        "set_xlabel",
        "set_xlim",
        "set_xticks",
        "set_ylabel",
        "set_ylim",
        "set_yticks",
        "show",
        "subplots",
        "subplots_adjust",
        "suptitle",
        "tail",
        "text",
        "tick_params",
        "tight_layout",
        "title",
        "to_csv",
        "to_excel",
        "to_json",
        "to_markdown",
        "to_parquet",
        "to_string",
        "warn",
        "xlabel",
        "xlim",
        "xticks",
        "ylabel",
        "ylim",
        "yticks",
    ]
)
_SHOWING_ROOTS = frozenset(
    {"ax", "axes", "fig", "logging", "logger", "mlflow", "mlops", "plt", "px", "go", "sns", "subprocess", "warnings"}
)
_MECHANICS = frozenset(
    {"as_frame", "ascending", "axis", "copy", "encoding", "ignore_index", "index", "inplace", "n_jobs", "output_dict",
     "return_X_y", "return_train_score", "verbose"}
)  # fmt: skip
"""Keywords that say in which form something comes, or how it is computed, and not what comes out."""


@dataclass(frozen=True, slots=True)
class Found:
    """A parameter before collisions of keys are settled."""

    key: str
    value: Any
    source: ParamSource
    prefix: str = ""
    """Callee, class or variable that the key belongs to; put before it where the key alone is taken."""


def literal_params(steps: Sequence[tuple[CellAnalysis, frozenset[str] | None, bool]]) -> list[Found]:
    """Literals of the slice: top-level names first, then keyword and dict literals of calls.

    ``steps``: the executions of the backward slice, nearest first, each with the names that the slice needs of it
    (None for the tracked cell itself, of which all count) and whether a headless run injected the cell.
    """
    found: list[Found] = []
    for analysis, names, injected in steps:
        source = ParamSource.INJECTED if injected else ParamSource.LITERAL
        changed = {touch.name for touch in analysis.touches if touch.kind is TouchKind.AUGMENTED}
        # What the same cell goes on to use is needed through what it makes of it.
        wanted = None if names is None else names | {load.name for load in analysis.loads}
        for name, value in analysis.literals.items():
            if name.startswith("_") or name in changed or (wanted is not None and name not in wanted):
                continue
            if value is None or name in analysis.loop_targets:
                continue
            found += _of_literal(name, value, source)
    for analysis, names, injected in steps:
        if names and names <= {bound.bound for bound in analysis.imports}:
            continue  # what is needed of this cell is an import; its calls made something else
        for literal in analysis.keyword_literals:
            if injected or _shows(literal.callee) or literal.keyword in _MECHANICS:
                continue
            if names is None or _is_needed(analysis, literal.line, names):
                callee = literal.callee.rpartition(".")[2]
                found += _of_literal(literal.keyword, literal.value, ParamSource.LITERAL, prefix=callee)
    return found


def _is_needed(analysis: CellAnalysis, line: int, names: frozenset[str]) -> bool:
    """Whether what stands at ``line`` is not in the body of a function or class member that nobody asked for."""
    around = [f for f in analysis.functions if not f.is_lambda and f.line <= line <= f.end_line]
    return not around or any(function.qualname.split(".")[0] in names for function in around)


def _of_literal(key: str, value: Any, source: ParamSource, *, prefix: str = "") -> list[Found]:
    if isinstance(value, dict):
        if value and all(isinstance(k, str) and _is_plain(v) for k, v in value.items()):
            return [Found(k, v, source, prefix or key) for k, v in value.items()]
        return []
    if isinstance(value, list | tuple | set) and not value:
        return []  # an accumulator
    return [Found(key, value, source, prefix)]


def _shows(callee: str) -> bool:
    parts = callee.split(".")
    return parts[-1] in _SHOWING or parts[0] in _SHOWING_ROOTS


def settle_params(found: Iterable[Found]) -> list[Param]:
    """One parameter for each key. An earlier one keeps its plain key; another value under it gets its
    prefix."""
    settled: dict[str, Param] = {}
    for item in found:
        text = param_text(item.value)
        if text is None or not item.key:
            continue
        param = Param(key=item.key, value=text, type_name=type(item.value).__name__, source=item.source)
        for key in (item.key, f"{item.prefix}_{item.key}" if item.prefix else ""):
            if not key:
                continue
            taken = settled.get(key)
            if taken is None:
                settled[key] = Param(key=key, value=text, type_name=param.type_name, source=param.source)
            if taken is None or taken.value == text:
                break
    return sorted(settled.values(), key=_rank)


def _rank(param: Param) -> tuple[bool, bool]:
    """What a person set comes before what an estimator has by default, and numbers before lists."""
    return param.source is ParamSource.ESTIMATOR, param.type_name in ("list", "tuple", "dict", "set", "frozenset")


def param_text(value: Any) -> str | None:
    """Text of a parameter as MLflow would show it; the class where the value is no plain one. None: too
    long."""
    if isinstance(value, str):
        text = value
    elif _is_plain(value) or isinstance(value, list | tuple | dict | set | frozenset):
        text = _repr(value, 0)
    elif isinstance(value, type) or callable(value):
        text = str(getattr(value, "__qualname__", type(value).__name__))
    else:
        number = scalar(value)
        text = type(value).__name__ if number is None else repr(number)
        if isinstance(number, float) and _is_numpy_integer(value):
            text = str(int(number))
    return storable(text) if len(text) <= VALUE_LIMIT else None


def storable(text: str) -> str:
    """The text without lone surrogates, which no database and no message takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _repr(value: Any, depth: int) -> str:
    """``repr`` of plain values and containers of them, never that of a user's class."""
    kind = type(value)
    if kind in (bool, int, float, complex, str, bytes, type(None), type(Ellipsis)):
        try:
            return repr(value)
        except ValueError:  # an int of thousands of digits
            return "int"
    if depth > 4 or kind not in (list, tuple, dict, set, frozenset) or len(value) > 100:
        return kind.__name__
    if kind is dict:
        inner = ", ".join(f"{_repr(k, depth + 1)}: {_repr(v, depth + 1)}" for k, v in value.items())
        return f"{{{inner}}}"
    inner = ", ".join(_repr(item, depth + 1) for item in value)
    if kind is list:
        return f"[{inner}]"
    if kind is tuple:
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return f"{{{inner}}}" if value else f"{kind.__name__}()"


def _is_plain(value: Any) -> bool:
    return type(value) in (bool, int, float, complex, str, bytes, type(None))


def found_metrics(
    analysis: CellAnalysis, assigned: Mapping[str, Any], shown: Any = None, *, scored: Sequence[Any] = ()
) -> dict[str, float]:
    """Numbers that a cell assigned to names or displayed.

    ``assigned``: the names it bound, with their values; ``shown``: the value that the notebook displays, or
    None; ``scored``: results of scoring calls, which have names of their own and count once.
    """
    kinds = {assignment.name: assignment.kind for assignment in analysis.assignments}
    metrics: dict[str, float] = {}
    for name, value in assigned.items():
        if name.startswith("_") or name in analysis.loop_targets:
            continue
        if kinds.get(name, ValueKind.OTHER) is ValueKind.OTHER:
            _add(metrics, name, value)
    displayed = analysis.displayed
    if displayed is not None and shown is not None:
        if displayed.name is not None:
            if not displayed.name.startswith("_") and kinds.get(displayed.name) in (None, ValueKind.OTHER):
                _add(metrics, displayed.name, shown)
        elif not any(shown is score for score in scored) and not _counts(displayed.text):
            _add(metrics, " ".join(displayed.text.split())[:100], shown)
    return metrics


def _add(metrics: dict[str, float], name: str, value: Any) -> None:
    number = scalar(value)
    if number is not None:
        metrics.setdefault(name, number)
    elif type(value) is dict and 0 < len(value) <= 100 and all(type(key) is str for key in value):
        numbers = {key: scalar(item) for key, item in value.items()}
        if all(item is not None for item in numbers.values()):
            for key, item in numbers.items():
                assert item is not None
                taken = metrics.get(key)
                plain = taken is None or taken == item
                metrics.setdefault(key if plain else f"{name}_{key}", item)


def _counts(text: str) -> bool:
    """Whether an expression only tells how large something is, or is a literal."""
    text = text.strip()
    if text.startswith("len(") or text.endswith((".shape", ".size", ".ndim")) or ".shape[" in text:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def scalar(value: Any) -> float | None:
    """The number that ``value`` is: int, float, numpy scalar, 0-d array or tensor. None for all else, bool
    included."""
    kind = type(value)
    if kind is float:
        return float(value)
    if kind is int:
        try:
            return float(value)
        except OverflowError:
            return None
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, numpy.generic):
            if isinstance(value, numpy.floating | numpy.integer) and not isinstance(value, numpy.timedelta64):
                return float(value)
            return None
        if kind is numpy.ndarray:
            return float(value) if value.ndim == 0 and value.dtype.kind in "fiu" else None
    torch = sys.modules.get("torch")
    if torch is not None and kind is getattr(torch, "Tensor", None) and value.ndim == 0:
        number = value.detach().item()
        return float(number) if type(number) in (int, float) else None
    return None


def _is_numpy_integer(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.integer)


def metric_text(value: float) -> str:
    """A number for people, in four significant digits."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"
