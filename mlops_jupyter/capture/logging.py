"""MLflow's logging calls under MLflow's names, written to the local store: microseconds, no server, no
mlflow.

Where a call lands: in the run of the cell (``%%track``, ``%track on``), in the headless run that executes the
notebook, in the run that ``MLOPS_RUN_UID`` names (a worker), else in a run of its own for this cell or
process. Each call is committed when it returns: a kernel that is killed right after it has lost nothing.
"""

from __future__ import annotations

import operator
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_jupyter.entities import Artifact, Metric, Param, ParamSource
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import SQLiteConnection
from mlops_jupyter.store import runs as store_runs

from .active import ActiveRun, Target, target, target_or_none
from .findings import param_text, scalar

_KEY_LIMIT = 250
_DRIVE = re.compile(r"^[A-Za-z]:")


def log_metric(key: str, value: float, step: int | None = None) -> None:
    """Record one value of a metric of the active run.

    Parameters
    ----------
    key : name of the metric, at most 250 characters
    value : a number: int, float, numpy scalar, 0-d array or tensor; NaN and infinities are fine
    step : position on the metric's axis (epoch, batch); default 0, as in MLflow

    Raises
    ------
    UsageError: the key is no text, the value no number, or the step no whole number
    """
    kind = type(value)
    number = value if kind is float else _number(key, value)
    if type(key) is not str or not 0 < len(key) <= _KEY_LIMIT:
        _check_key(key, "metric")
    position = 0 if step is None else _step(step)
    at = target()
    at.sink.append_metric(at.run_uid, key, number, position, time.time_ns() // 1_000_000)


def log_metrics(metrics: Mapping[str, float], step: int | None = None) -> None:
    """Record one value each of several metrics, all or nothing. Parameters and errors as ``log_metric``."""
    if not isinstance(metrics, Mapping):
        raise UsageError(f"log_metrics expects a dict of names and numbers, got {_kind(metrics)}.")
    now, position = time.time_ns() // 1_000_000, 0 if step is None else _step(step)
    rows = []
    for key, value in metrics.items():
        _check_key(key, "metric")
        rows.append(Metric(key=key, value=_number(key, value), step=position, timestamp=now))
    at = target()
    at.sink.write(lambda store: store_runs.log_metrics(store, at.run_uid, rows))


def log_param(key: str, value: Any) -> Any:
    """Record a parameter of the active run; gives ``value`` back, as MLflow does.

    Raises
    ------
    UsageError: the key is no text, or the run has this parameter with another value
    """
    log_params({key: value})
    return value


def log_params(params: Mapping[str, Any]) -> None:
    """Record several parameters, all or nothing. Errors as ``log_param``."""
    if not isinstance(params, Mapping):
        raise UsageError(f"log_params expects a dict of names and values, got {_kind(params)}.")
    rows = []
    for key, value in params.items():
        _check_key(key, "parameter")
        rows.append(Param(key=key, value=_text(value), type_name=type(value).__name__, source=ParamSource.LOGGED))
    at = target()
    at.sink.write(lambda store: store_runs.log_params(store, at.run_uid, rows))


def set_tag(key: str, value: Any) -> None:
    """Set a tag of the active run; a later value replaces an earlier one."""
    set_tags({key: value})


def set_tags(tags: Mapping[str, Any]) -> None:
    """Set several tags of the active run."""
    if not isinstance(tags, Mapping):
        raise UsageError(f"set_tags expects a dict of names and values, got {_kind(tags)}.")
    texts = {}
    for key, value in tags.items():
        _check_key(key, "tag")
        texts[key] = _text(value)
    at = target()
    at.sink.write(lambda store: store_runs.set_tags(store, at.run_uid, texts))


def log_artifact(local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
    """Keep a copy of a file, or of every file in a folder, as artifacts of the active run.

    Parameters
    ----------
    local_path : file or folder
    artifact_path : folder among the run's artifacts, ``/``-separated; default: the top

    Raises
    ------
    UsageError: there is no such file, or ``artifact_path`` leads out of the run's artifacts
    """
    try:
        path = Path(local_path)
    except TypeError:
        raise UsageError(f"log_artifact expects a path, got {_kind(local_path)}.") from None
    folder = _artifact_path(artifact_path) if artifact_path is not None else PurePosixPath()
    if path.is_dir():
        base = folder / path.name if path.name else folder
        files = [(file, base / file.relative_to(path).as_posix()) for file in sorted(path.rglob("*")) if file.is_file()]
    elif path.is_file():
        files = [(path, folder / path.name)]
    else:
        raise UsageError(f"log_artifact: there is no file {str(path)!r}.", hint=f"The current folder is {Path.cwd()}.")
    at = target()
    artifacts = []
    for file, name in files:
        digest = at.exchange.put_file(file)
        size = at.exchange.path(digest, verify=False).stat().st_size
        artifacts.append(Artifact(path=str(name), digest=digest, size=size))
    _add(at, artifacts)


def log_figure(figure: Any, artifact_file: str) -> None:
    """Keep a figure as an artifact of the active run.

    Parameters
    ----------
    figure : a matplotlib or plotly figure
    artifact_file : path among the run's artifacts; its ending says the format: ``.png``, ``.svg``, ``.pdf``
    … for
        matplotlib, ``.html`` or ``.json`` for plotly

    Raises
    ------
    UsageError: another kind of object, or an ending that it cannot be written as
    """
    path = _artifact_path(artifact_file)
    ending = path.suffix.lower()
    module = type(figure).__module__.partition(".")[0]
    if hasattr(figure, "savefig"):
        import io

        buffer = io.BytesIO()
        try:
            figure.savefig(buffer, format=ending[1:] or "png", bbox_inches="tight")
        except ValueError as error:
            raise UsageError(f"log_figure: {artifact_file!r} cannot be written: {error}") from None
        content = buffer.getvalue()
    elif module == "plotly" and hasattr(figure, "to_json"):
        if ending == ".json":
            content = str(figure.to_json()).encode()
        elif ending in (".html", ".htm"):
            content = str(figure.to_html(include_plotlyjs=True)).encode()
        else:
            raise UsageError(f"log_figure: plotly figures are kept as .html or .json, got {artifact_file!r}.")
    else:
        raise UsageError(f"log_figure expects a matplotlib or plotly figure, got {_kind(figure)}.")
    _add_bytes(str(path), content)


def log_predictions(
    predictions: Sequence[Any],
    labels: Sequence[Any] | None = None,
    *,
    ids: Sequence[Any] | None = None,
    artifact_file: str = "predictions.csv",
) -> None:
    """Keep predictions, with ids and true labels where given, as a table among the run's artifacts.

    Parameters
    ----------
    predictions : one a row: list, array or series
    labels, ids : as long as ``predictions``
    artifact_file : path of the table, which is written as CSV with the columns ``id``, ``prediction``,
    ``label``

    Raises
    ------
    UsageError: they are not sequences of one length
    """
    path = _artifact_path(artifact_file)
    columns = {"id": ids, "prediction": predictions, "label": labels}
    lists: dict[str, list[Any]] = {}
    for name, column in columns.items():
        if column is not None:
            try:
                lists[name] = list(column.tolist() if hasattr(column, "tolist") else column)
            except TypeError:
                raise UsageError(f"log_predictions expects a sequence of {name}s, got {_kind(column)}.") from None
    lengths = {name: len(column) for name, column in lists.items()}
    if len(set(lengths.values())) != 1:
        told = ", ".join(f"{length} {name}s" for name, length in lengths.items())
        raise UsageError(f"log_predictions expects columns of one length, got {told}.")
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(lists)
    writer.writerows(zip(*lists.values(), strict=True))
    _add_bytes(str(path), text.getvalue().encode())


def active_run() -> ActiveRun | None:
    """The run that ``log_*`` would write to, or None where it would start one. ``.info`` and ``.data`` as
    in MLflow."""
    at = target_or_none()
    return None if at is None else ActiveRun(at)


def _add_bytes(path: str, content: bytes) -> None:
    at = target()
    _add(at, [Artifact(path=path, digest=at.exchange.put_bytes(content), size=len(content))])


def _add(at: Target, artifacts: list[Artifact]) -> None:
    def write(store: SQLiteConnection) -> None:
        for artifact in artifacts:
            store_runs.add_artifact(store, at.run_uid, artifact)

    at.sink.write(write)


def _number(key: Any, value: Any) -> float:
    kind = type(value)
    if kind is bool:
        return float(value)
    number = scalar(value)
    if number is None and not isinstance(value, str | bytes | bytearray):
        try:
            number = float(value)
        except OverflowError:
            raise UsageError(f"The value of metric {key!r} is too large for a 64-bit float.") from None
        except (TypeError, ValueError):
            number = None
    if number is None:
        raise UsageError(
            f"Metric {key!r} expects a number, got {_kind(value)}.",
            hint="Log texts with log_param or set_tag.",
        )
    return number


def _step(step: Any) -> int:
    try:
        position = operator.index(step)
    except TypeError:
        if type(step) is float and step.is_integer():
            position = int(step)
        else:
            raise UsageError(f"step expects a whole number, got {step!r}.") from None
    if not -(2**63) <= position < 2**63:
        raise UsageError(f"step expects a whole number of at most 64 bits, got {position}.")
    return position


def _check_key(key: Any, what: str) -> None:
    if not isinstance(key, str):
        raise UsageError(f"The name of a {what} must be text, got {_kind(key)}.")
    if not key.strip() or len(key) > _KEY_LIMIT:
        raise UsageError(f"The name of a {what} must have 1 to {_KEY_LIMIT} characters, got {len(key)}.")


def _text(value: Any) -> str:
    """Text of a logged value: what ``str`` makes of it, as in MLflow; here the user asked for it."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return param_text(value) or type(value).__name__


def _kind(value: Any) -> str:
    text = param_text(value)
    return f"{type(value).__name__} {text!r}"[:120] if isinstance(value, str) else type(value).__name__


def _artifact_path(path: Any) -> PurePosixPath:
    if not isinstance(path, str) or not path.strip():
        raise UsageError(f"The path of an artifact must be text, got {_kind(path)}.")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path or _DRIVE.match(path) or not pure.name:
        raise UsageError(f"The path of an artifact must be relative and stay inside of the run, got {path!r}.")
    return pure


__all__ = [
    "active_run",
    "log_artifact",
    "log_figure",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_predictions",
    "set_tag",
    "set_tags",
]
