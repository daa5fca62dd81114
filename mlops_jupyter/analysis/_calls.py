"""Calls that fit an estimator or compute a score, and keyword arguments that are literals."""

from __future__ import annotations

import ast

from ._literals import NotLiteralError, literal_value
from ._model import CallKind, KeywordLiteral, KnownCall
from ._scopes import dotted

FIT_METHODS = frozenset({"fit", "fit_transform", "fit_predict", "partial_fit"})

SCORE_FUNCTIONS = frozenset(
    {"accuracy_score", "adjusted_mutual_info_score", "adjusted_rand_score", "auc", "average_precision_score",
     "balanced_accuracy_score", "brier_score_loss", "calinski_harabasz_score", "class_likelihood_ratios",
     "cohen_kappa_score", "completeness_score", "consensus_score", "coverage_error",
     "d2_absolute_error_score",
     "d2_brier_score", "d2_log_loss_score", "d2_pinball_score", "d2_tweedie_score", "davies_bouldin_score",
     "dcg_score", "explained_variance_score", "f1_score", "fbeta_score", "fowlkes_mallows_score",
     "hamming_loss",
     "hinge_loss", "homogeneity_score", "jaccard_score", "label_ranking_average_precision_score",
     "label_ranking_loss", "log_loss", "matthews_corrcoef", "max_error", "mean_absolute_error",
     "mean_absolute_percentage_error", "mean_gamma_deviance", "mean_pinball_loss", "mean_poisson_deviance",
     "mean_squared_error", "mean_squared_log_error", "mean_tweedie_deviance", "median_absolute_error",
     "mutual_info_score", "ndcg_score", "normalized_mutual_info_score", "precision_score", "r2_score",
     "rand_score",
     "recall_score", "roc_auc_score", "root_mean_squared_error", "root_mean_squared_log_error",
     "silhouette_score",
     "top_k_accuracy_score", "v_measure_score", "zero_one_loss"}
)  # fmt: skip
"""scikit-learn's functions that return one number."""

_TEXT = 300


def call_kind(node: ast.Call) -> tuple[CallKind, str] | None:
    """(kind, function) of a call that a run cares about, judged by its name."""
    if isinstance(node.func, ast.Attribute):
        name = node.func.attr
        if name in FIT_METHODS:
            return CallKind.FIT, name
        if name == "score" or name in SCORE_FUNCTIONS:
            return CallKind.SCORE, name
    elif isinstance(node.func, ast.Name) and node.func.id in SCORE_FUNCTIONS:
        return CallKind.SCORE, node.func.id
    return None


def known_call(node: ast.Call, targets: tuple[str, ...]) -> KnownCall | None:
    """The call as a value, or None where it is of no known kind."""
    kind = call_kind(node)
    if kind is None:
        return None
    receiver = _text(node.func.value) if isinstance(node.func, ast.Attribute) else None
    return KnownCall(
        kind=kind[0],
        callee=_text(node.func),
        function=kind[1],
        receiver=receiver,
        arguments=tuple(_text(a) for a in node.args),
        keywords=tuple((k.arg or "**", _text(k.value)) for k in node.keywords),
        targets=targets,
        line=node.lineno,
        column=node.col_offset,
        end_line=node.end_lineno or node.lineno,
        end_column=node.end_col_offset or node.col_offset,
    )


def keyword_literals(node: ast.Call) -> list[KeywordLiteral]:
    """Keyword arguments of this call that are literals."""
    found: list[KeywordLiteral] = []
    callee = ""
    for keyword in node.keywords:
        if keyword.arg is None:
            continue
        try:
            value = literal_value(keyword.value)
        except NotLiteralError:
            continue
        callee = callee or dotted(node.func) or _text(node.func)
        place = keyword.value
        found.append(
            KeywordLiteral(
                callee=callee,
                keyword=keyword.arg,
                value=value,
                line=place.lineno,
                column=place.col_offset,
                end_line=place.end_lineno or place.lineno,
                end_column=place.end_col_offset or place.col_offset,
            )
        )
    return found


def _text(node: ast.AST) -> str:
    simple = dotted(node)
    if simple:
        return simple
    try:
        text = ast.unparse(node)
    except (RecursionError, ValueError):
        return "…"
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
