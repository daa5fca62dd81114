"""Data that estimators are fitted and scored on: shape, schema, MLflow's signature, a few example rows.

Looks only at frames, series, arrays and sparse matrices of the libraries themselves, never at a user's class.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

_EXAMPLE_ROWS = 5
_EXAMPLE_SEARCH = 100
"""Rows at the beginning among which rows without missing values are looked for."""
_COLUMNS_LIMIT = 2000
_MLFLOW_TYPES = {
    "bool": "boolean", "boolean": "boolean",
    "int8": "integer", "int16": "integer", "int32": "integer", "uint8": "integer", "uint16": "integer",
    "int64": "long", "uint32": "long", "Int64": "long",
    "float16": "float", "float32": "float", "float64": "double", "Float64": "double",
    "object": "string", "string": "string", "str": "string",
}  # fmt: skip
# No categories: told as what they hold, MLflow would refuse the very frame that the model was fitted on.


def is_frame(value: Any) -> bool:
    """Whether ``value`` is a pandas DataFrame itself."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and type(value) is getattr(pandas, "DataFrame", None)


def is_series(value: Any) -> bool:
    """Whether ``value`` is a pandas Series itself."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and type(value) is getattr(pandas, "Series", None)


def is_array(value: Any) -> bool:
    """Whether ``value`` is a numpy array itself."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is getattr(numpy, "ndarray", None)


def is_data(value: Any) -> bool:
    """Whether ``value`` is a data set that can be described."""
    if is_frame(value) or is_series(value) or is_array(value) or type(value) in (list, tuple):
        return True
    module = type(value).__module__
    return module.startswith(("scipy.sparse", "polars.", "pyarrow.")) and hasattr(value, "shape")


def shape_of(value: Any) -> tuple[int, ...]:
    """Rows and columns; one number for one dimension."""
    if type(value) in (list, tuple):
        return (len(value),)
    return tuple(int(size) for size in value.shape)


def schema_of(value: Any) -> str:
    """JSON list of ``{"name", "type"}``, one a column; empty where there are no columns or too many."""
    columns: list[tuple[str, str]] = []
    if is_frame(value):
        if len(value.columns) <= _COLUMNS_LIMIT:
            columns = [(str(name), dtype) for name, dtype in zip(value.columns, _dtypes(value), strict=True)]
    elif is_series(value):
        columns = [("" if value.name is None else str(value.name), str(value.dtype))]
    elif is_array(value):
        columns = [("", str(value.dtype))]
    return json.dumps([{"name": name, "type": kind} for name, kind in columns]) if columns else ""


def _dtypes(frame: Any) -> list[str]:
    """Names of the columns' types; each type is turned into text once."""
    texts: dict[int, str] = {}
    found = []
    for dtype in frame.dtypes.to_numpy():
        text = texts.get(id(dtype))
        if text is None:
            text = texts[id(dtype)] = str(dtype)
        found.append(text)
    return found


def signature(features: Any, target: Any) -> str:
    """MLflow's model signature as JSON, or an empty text where the inputs cannot be described."""
    inputs = _signature_part(features)
    if not inputs:
        return ""
    outputs = _signature_part(target, as_output=True)
    return json.dumps({"inputs": inputs, "outputs": outputs or None, "params": None})


def _signature_part(value: Any, *, as_output: bool = False) -> str:
    if is_frame(value) and 0 < len(value.columns) <= _COLUMNS_LIMIT:
        columns = []
        for name, dtype in zip(value.columns, _dtypes(value), strict=True):
            kind = _mlflow_type(dtype)
            if kind is None or not isinstance(name, str):
                return ""
            columns.append({"type": kind, "name": name, "required": True})
        return json.dumps(columns)
    if is_series(value) or is_array(value):
        dtype = str(value.dtype)
        if dtype.startswith(("datetime64", "<U", "|S")) or _mlflow_type(dtype) in ("string", None):
            if not as_output or _mlflow_type(dtype) is None:
                return ""
            return json.dumps([{"type": _mlflow_type(dtype), "required": True}])
        if is_series(value) and dtype not in ("bool", "int32", "int64", "float32", "float64"):
            return ""
        shape = [-1, *(int(size) for size in value.shape[1:])]
        return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}])
    return ""


def _mlflow_type(dtype: str) -> str | None:
    if dtype.startswith("datetime64"):
        return "datetime"
    if dtype.startswith(("<U", "|S")):
        return "string"
    return _MLFLOW_TYPES.get(dtype)


def input_example(features: Any) -> bytes | None:
    """The first rows that hold plain values only, as JSON in the shape of MLflow's scoring protocol; None where
    there are none near the beginning."""
    document: dict[str, Any]
    if is_frame(features) and 0 < len(features.columns) <= _COLUMNS_LIMIT:
        columns = list(features.columns)
        if not all(isinstance(name, str) for name in columns):
            return None
        # Faster by far than to_dict(orient="split"), and plain Python values all the same.
        rows = _plain_rows(lambda begin, end: features.iloc[begin:end].to_numpy(dtype=object).tolist())
        document = {"dataframe_split": {"columns": columns, "data": rows}}
    elif is_array(features) and features.ndim == 2 and features.shape[1] <= _COLUMNS_LIMIT:
        rows = _plain_rows(lambda begin, end: features[begin:end].tolist())
        document = {"inputs": rows}
    else:
        return None
    return json.dumps(document).encode() if rows else None


def _plain_rows(read: Callable[[int, int], list[list[Any]]]) -> list[list[Any]]:
    """At most ``_EXAMPLE_ROWS`` rows; more than the first ones are read only where those have something missing."""
    found: list[list[Any]] = []
    for begin, end in ((0, _EXAMPLE_ROWS), (_EXAMPLE_ROWS, _EXAMPLE_SEARCH)):
        found += [row for row in read(begin, end) if row and all(_plain(cell) for cell in row)]
        if len(found) >= _EXAMPLE_ROWS:
            break
    return found[:_EXAMPLE_ROWS]


def _plain(cell: Any) -> bool:
    if type(cell) is float:
        return math.isfinite(cell)
    return (type(cell) is str and len(cell) <= 1000) or type(cell) in (int, bool)
