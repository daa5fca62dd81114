"""Runs that fit a filter, in an order, by pages: MLflow's ``search_runs`` on our tables.

Conditions become SQL from constant pieces; every key and value is bound. Same set and order as MLflow: NaN and missing
values last in both directions, then latest start first, then run id.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlops_jupyter.entities import RunUid
from mlops_jupyter.errors import UsageError

from .connection import Connection, Value
from .filters import NUMERIC_ATTRIBUTES, Condition, Kind, Order, parse_filter, parse_order

_TABLES = {Kind.METRIC: "latest_metrics", Kind.PARAM: "params", Kind.TAG: "tags"}
_COLUMNS = {
    "run_id": "r.run_uid",
    "mlflow_run_id": "r.mlflow_run_id",
    "run_name": "r.name",
    "status": "r.status",
    "user_id": "r.actor",
    "experiment": "r.experiment",
    "notebook": "r.notebook",
    "start_time": "r.started_at",
    "end_time": "r.ended_at",
}
_TAG_COLUMNS = {
    # Tags that delivery writes for MLflow and that are columns here.
    "mlflow.runName": "r.name",
    "mlflow.note.content": "NULLIF(r.note, '')",
    "mlflow.parentRunId": "(SELECT COALESCE(p.mlflow_run_id, p.run_uid) FROM runs p WHERE p.run_uid = r.parent_uid)",
    "mlops.run_uid": "r.run_uid",
}
_MILLISECONDS = {
    # Both cut the fraction off, as the documents do.
    "sqlite": "CAST({0} * 1000 AS INTEGER)",
    "postgresql": "CAST(TRUNC({0} * 1000) AS BIGINT)",
}

_Clause = tuple[str, list[Value]]


def search_runs(
    connection: Connection,
    *,
    filter: str = "",  # noqa: A002 - the name that MLflow's users know
    order_by: Sequence[str] | str = (),
    limit: int | None = None,
    offset: int = 0,
    include_deleted: bool = False,
) -> tuple[list[RunUid], int]:
    """Ids of one page of the runs that fit, and how many fit in all.

    Parameters:
        filter: conditions joined by AND in MLflow's grammar; besides its attributes ``experiment`` and ``notebook``,
            and ``run_id`` is our id or MLflow's.
        order_by: clauses such as ``metrics.acc DESC``; without them the latest start comes first.
        limit: rows of the page, None for all. ``offset``: rows before it.

    Raises:
        UsageError: a filter or order that is not in the grammar, a negative limit or offset.
    """
    if offset < 0 or (limit is not None and limit < 0):
        raise UsageError(f"limit and offset must not be negative, got {limit} and {offset}.")
    conditions = parse_filter(filter)
    clauses = [_condition(condition, connection.dialect) for condition in conditions]
    if not include_deleted:
        clauses.insert(0, ("r.deleted_at IS NULL", []))
    where = " AND ".join(sql for sql, _ in clauses) or "1 = 1"
    values = [value for _, bound in clauses for value in bound]
    joins, keys, join_values = _ordering(
        [parse_order(clause) for clause in ((order_by,) if isinstance(order_by, str) else order_by)]
    )
    page, page_values = _page(connection.dialect, limit, offset)
    # A filter over other tables is not evaluated twice; without one, counting apart is quicker.
    together = any(condition.kind is not Kind.ATTRIBUTE for condition in conditions)
    count = "COUNT(*) OVER ()" if together else "0"
    rows = connection.execute(
        f"SELECT r.run_uid, {count} FROM runs r{joins} WHERE {where} ORDER BY {keys}{page}",
        [*join_values, *values, *page_values],
    )
    if together and rows:
        total = rows[0][1]
    elif offset == 0 and (limit is None or len(rows) < limit):
        total = len(rows)
    else:
        ((total,),) = connection.execute(f"SELECT COUNT(*) FROM runs r WHERE {where}", values)
    return [RunUid(row[0]) for row in rows], int(total)


def _page(dialect: str, limit: int | None, offset: int) -> _Clause:
    if limit is not None:
        return " LIMIT ? OFFSET ?", [limit, offset]
    if not offset:
        return "", []
    return (" LIMIT -1 OFFSET ?" if dialect == "sqlite" else " OFFSET ?"), [offset]


def _condition(condition: Condition, dialect: str) -> _Clause:
    if condition.kind is Kind.ATTRIBUTE:
        return _attribute(condition, dialect)
    if condition.kind is Kind.DATASET:
        sql, values = _comparison(f"d.{condition.key}", condition, dialect)
        return f"EXISTS (SELECT 1 FROM datasets d WHERE d.run_uid = r.run_uid AND {sql})", values
    if condition.kind is Kind.TAG and condition.key in _TAG_COLUMNS:
        return _comparison(_TAG_COLUMNS[condition.key], condition, dialect)
    inner = f"SELECT v.run_uid FROM {_TABLES[condition.kind]} v WHERE v.key = ?"
    if condition.operator == "IS NULL":
        return f"r.run_uid NOT IN ({inner})", [condition.key]
    if condition.operator == "IS NOT NULL":
        return f"r.run_uid IN ({inner})", [condition.key]
    sql, values = _comparison("v.value", condition, dialect)
    if condition.kind is Kind.METRIC and condition.operator == "!=":
        sql = f"({sql} OR v.value IS NULL)"  # NaN is kept as NULL and differs from every number
    return f"r.run_uid IN ({inner} AND {sql})", [condition.key, *values]


def _attribute(condition: Condition, dialect: str) -> _Clause:
    column = _COLUMNS[condition.key]
    if condition.key in NUMERIC_ATTRIBUTES:
        return _comparison(_MILLISECONDS[dialect].format(column), condition, dialect)
    sql, values = _comparison(column, condition, dialect)
    if condition.key != "run_id" or condition.operator.startswith("IS"):
        return sql, values
    other, more = _comparison("COALESCE(r.mlflow_run_id, '')", condition, dialect)
    joined = "AND" if condition.operator in ("!=", "NOT IN") else "OR"
    return f"({sql} {joined} {other})", [*values, *more]


def _comparison(expression: str, condition: Condition, dialect: str) -> _Clause:
    operator, value = condition.operator, condition.value
    if value is None:
        return f"{expression} {operator}", []
    if isinstance(value, tuple):
        return f"{expression} {operator} ({','.join('?' * len(value))})", list(value)
    if operator in ("LIKE", "ILIKE"):
        return _like(expression, str(value), dialect, ignore_case=operator == "ILIKE")
    return f"{expression} {operator} ?", [value]


def _like(expression: str, pattern: str, dialect: str, *, ignore_case: bool) -> _Clause:
    """``%`` and ``_`` and no escape; letters beyond ASCII keep their case, as in MLflow on SQLite."""
    if dialect == "postgresql":
        return f"{expression} {'ILIKE' if ignore_case else 'LIKE'} ? ESCAPE ''", [pattern]
    if ignore_case:
        return f"{expression} LIKE ?", [pattern]
    # SQLite's LIKE always ignores case, its GLOB never does.
    return f"{expression} GLOB ?", ["".join(_GLOB.get(c, c) for c in pattern)]


_GLOB = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}


def _ordering(orders: Sequence[Order]) -> tuple[str, str, list[Value]]:
    """Joins, ORDER BY keys and the values of the joins."""
    joins, keys, values = "", [], list[Value]()
    for index, order in enumerate(orders):
        direction = " DESC" if order.descending else ""
        if (order.kind, order.key) in [(o.kind, o.key) for o in orders[:index]]:
            raise UsageError(f"order_by names {order.kind}.{order.key} twice.")
        if order.kind is Kind.ATTRIBUTE or (order.kind is Kind.TAG and order.key in _TAG_COLUMNS):
            column = (_COLUMNS if order.kind is Kind.ATTRIBUTE else _TAG_COLUMNS)[order.key]
            keys += [f"CASE WHEN {column} IS NULL THEN 1 ELSE 0 END", column + direction]
            continue
        name = f"o{index}"
        joins += f" LEFT JOIN {_TABLES[order.kind]} {name} ON {name}.run_uid = r.run_uid AND {name}.key = ?"
        values.append(order.key)
        if order.kind is Kind.METRIC:
            keys.append(f"CASE WHEN {name}.run_uid IS NULL THEN 2 WHEN {name}.value IS NULL THEN 1 ELSE 0 END")
        else:
            keys.append(f"CASE WHEN {name}.run_uid IS NULL THEN 1 ELSE 0 END")
        keys.append(f"{name}.value{direction}")
    if not any(o.kind is Kind.ATTRIBUTE and o.key == "start_time" for o in orders):
        keys.append("r.started_at DESC")
    keys.append("r.run_uid")
    return joins, ", ".join(keys), values
