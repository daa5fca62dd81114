"""Values of recognised calls (``fit``, ``predict``, ``score``, scikit-learn's metrics), passed through
unchanged.

The tree of a cell is rewritten before it is compiled: in ``model.score(X, y)`` the receiver, the first two
arguments and the result each pass through an expression that gives them back. Every node keeps its
position, and the call itself stays in the user's own frame, so tracebacks, line numbers and
``sys._getframe`` see no difference. No class of another library is touched.

The inserted expression names nothing of ours but a string: it looks in ``sys.modules`` for this module, so
that a function which travels to a worker process (joblib, multiprocessing, Ray) works there without the
package too.
"""

from __future__ import annotations

import ast
import itertools
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["fit", "predict", "score", "metric", "validate"]
Role = Literal["receiver", "result", 0, 1]

FIT = frozenset({"fit", "fit_predict", "fit_transform", "partial_fit"})
PREDICT = frozenset({"predict", "predict_proba", "predict_log_proba", "decision_function"})
VALIDATE = frozenset({"cross_val_score", "cross_validate", "cross_val_predict"})
METRICS = frozenset(
    [
        "accuracy_score",
        "adjusted_mutual_info_score",
        "adjusted_rand_score",
        "auc",
        "average_precision_score",
        "balanced_accuracy_score",
        "brier_score_loss",
        "calinski_harabasz_score",
        "cohen_kappa_score",
        "completeness_score",
        "consensus_score",
        "coverage_error",
        "d2_absolute_error_score",
        "d2_brier_score",
        "d2_log_loss_score",
        "d2_pinball_score",
        "d2_tweedie_score",
        "davies_bouldin_score",
        "dcg_score",
        "explained_variance_score",
        "f1_score",
        "fbeta_score",
        "fowlkes_mallows_score",
        "hamming_loss",
        "hinge_loss",
        "homogeneity_score",
        "jaccard_score",
        "label_ranking_average_precision_score",
        "label_ranking_loss",
        "log_loss",
        "matthews_corrcoef",
        "max_error",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_gamma_deviance",
        "mean_pinball_loss",
        "mean_poisson_deviance",
        "mean_squared_error",
        "mean_squared_log_error",
        "mean_tweedie_deviance",
        "median_absolute_error",
        "mutual_info_score",
        "ndcg_score",
        "normalized_mutual_info_score",
        "precision_score",
        "r2_score",
        "rand_score",
        "recall_score",
        "roc_auc_score",
        "root_mean_squared_error",
        "root_mean_squared_log_error",
        "silhouette_score",
        "top_k_accuracy_score",
        "v_measure_score",
        "zero_one_loss",
    ]
)
"""Functions of ``sklearn.metrics`` that give one number."""

UNSEEN = object()
"""Stands for a value that did not pass through a probe."""

_MODULE = __name__
_FIRST_ARGUMENTS = {
    "fit": ("X", "y"),
    "predict": ("X", ""),
    "score": ("X", "y"),
    "validate": ("X", "y"),
    "metric": ("y_true", "y_pred"),
}
_BOTH: Sequence[Literal[0, 1]] = (0, 1)
_sites: dict[int, Site] = {}
_numbers = itertools.count(1)
_pending = threading.local()
_listener: Callable[[Seen], None] | None = None
_process = os.getpid()


@dataclass(frozen=True, slots=True)
class Site:
    """One recognised call in the text of a cell."""

    number: int
    kind: Kind
    function: str
    """Name of the method or function."""
    names: tuple[str | None, str | None]
    """What the first two arguments are called in the text, where they are plain variables."""


@dataclass(slots=True)
class Seen:
    """One execution of such a call. Handed to the listener at once; nobody keeps it."""

    site: Site
    receiver: Any = UNSEEN
    arguments: list[Any] = field(default_factory=lambda: [UNSEEN, UNSEEN])
    result: Any = UNSEEN

    def has(self, role: Role) -> bool:
        """Whether a value for ``role`` came already (then another execution of the call has begun)."""
        if role == "receiver":
            return self.receiver is not UNSEEN
        return role != "result" and self.arguments[role] is not UNSEEN


def listen(listener: Callable[[Seen], None] | None) -> None:
    """Hand every call to ``listener`` from here on, in the thread that made it; None: to nobody."""
    global _listener, _process
    _listener = listener
    _process = os.getpid()
    forget()


def forget() -> None:
    """Let go of values of calls that have begun in this thread and never came to an end."""
    _pending.__dict__.clear()


def seen(number: int, role: Role, value: Any) -> Any:
    """Called from the user's code with a value; gives it back. Never raises."""
    listener = _listener
    if listener is None or _process != os.getpid():
        return value
    try:
        open_calls: list[Seen] = _pending.__dict__.setdefault("calls", [])
        if role == "result":
            call = None
            while open_calls:
                last = open_calls.pop()  # those above it raised before they gave a result
                if last.site.number == number:
                    call = last
                    break
            if call is None:
                call = Seen(_sites[number])
            call.result = value
            listener(call)
        else:
            site = _sites[number]
            last_call = open_calls[-1] if open_calls else None
            if last_call is None or last_call.site.number != number or last_call.has(role):
                if len(open_calls) > 100:
                    del open_calls[:50]
                open_calls.append(Seen(site))
            if role == "receiver":
                open_calls[-1].receiver = value
            else:
                open_calls[-1].arguments[role] = value
    except Exception:  # noqa: BLE001, S110 - the user's value must come through whatever happens here
        pass
    return value


def transform(tree: ast.AST) -> ast.AST:
    """The tree of a cell with probes around recognised calls."""
    rewritten: ast.AST = _Rewriter().visit(tree)
    return rewritten


class _Rewriter(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        # A decorator may compile the function (numba) or read its code: leave those alone.
        for decorator in node.decorator_list:
            name = decorator.id if isinstance(decorator, ast.Name) else None
            if name not in ("staticmethod", "classmethod", "property"):
                return node
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        found = _recognised(node)
        if found is None:
            return node
        kind, function = found
        number = next(_numbers)
        names: list[str | None] = [None, None]
        keywords = {k.arg: k for k in node.keywords if k.arg}
        for index in _BOTH:
            if index < len(node.args):
                if any(isinstance(argument, ast.Starred) for argument in node.args[: index + 1]):
                    break
                position = index + (1 if kind == "validate" else 0)
                if position < len(node.args) and not isinstance(node.args[position], ast.Starred):
                    names[index] = _name(node.args[position])
                    node.args[position] = _probe(number, index, node.args[position])
        for role, key in zip(_BOTH, _FIRST_ARGUMENTS[kind], strict=True):
            if key in keywords:
                names[role] = _name(keywords[key].value)
                keywords[key].value = _probe(number, role, keywords[key].value)
        if kind == "validate" and node.args and not isinstance(node.args[0], ast.Starred):
            node.args[0] = _probe(number, "receiver", node.args[0])
        elif kind != "metric" and isinstance(node.func, ast.Attribute):
            node.func.value = _probe(number, "receiver", node.func.value)
        _sites[number] = Site(number, kind, function, (names[0], names[1]))
        return _probe(number, "result", node)


def _recognised(node: ast.Call) -> tuple[Kind, str] | None:
    if isinstance(node.func, ast.Attribute):
        name = node.func.attr
        if isinstance(node.func.value, ast.Call) and _is_super(node.func.value):
            return None
        if name in FIT:
            return "fit", name
        if name in PREDICT:
            return "predict", name
        if name == "score":
            return "score", name
    elif isinstance(node.func, ast.Name):
        name = node.func.id
    else:
        return None
    if name in METRICS:
        return "metric", name
    if name in VALIDATE:
        return "validate", name
    return None


def _is_super(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "super"


def _name(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _probe(number: int, role: Role, value: ast.expr) -> ast.Call:
    """``(lambda v: v if (m := __import__("sys").modules.get(MODULE)) is None else m.seen(…, v))(value)``.

    Built node by node, because parsing its text costs a cell a millisecond.
    """
    at: dict[str, Any] = {
        "lineno": value.lineno,
        "col_offset": value.col_offset,
        "end_lineno": value.end_lineno,
        "end_col_offset": value.end_col_offset,
    }

    def name(text: str) -> ast.Name:
        return ast.Name(id=text, ctx=ast.Load(), **at)

    def attribute(of: ast.expr, text: str) -> ast.Attribute:
        return ast.Attribute(value=of, attr=text, ctx=ast.Load(), **at)

    def call(function: ast.expr, *arguments: ast.expr) -> ast.Call:
        return ast.Call(func=function, args=list(arguments), keywords=[], **at)

    def constant(of: str | int | None) -> ast.Constant:
        return ast.Constant(value=of, **at)

    modules = attribute(call(name("__import__"), constant("sys")), "modules")
    found = ast.NamedExpr(
        target=ast.Name(id="m", ctx=ast.Store(), **at),
        value=call(attribute(modules, "get"), constant(_MODULE)),
        **at,
    )
    body = ast.IfExp(
        test=ast.Compare(left=found, ops=[ast.Is()], comparators=[constant(None)], **at),
        body=name("v"),
        orelse=call(attribute(name("m"), "seen"), constant(number), constant(role), name("v")),
        **at,
    )
    parameters = ast.arguments(
        posonlyargs=[], args=[ast.arg(arg="v", **at)], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    return call(ast.Lambda(args=parameters, body=body, **at), value)
