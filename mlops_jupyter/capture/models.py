"""Fitted estimators become bytes in the exchange at the end of the cell; MLflow's package is made
elsewhere."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from mlops_jupyter.data.exchange import Exchange
from mlops_jupyter.entities import ModelRecord

from .environment import normalised
from .estimators import Fitted, attributes
from .minting import new_uid

_ALWAYS = ("scikit-learn", "numpy", "scipy", "cloudpickle")
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


class _TooLargeError(Exception):
    """The pickle passed the limit."""


class _Bounded(io.BytesIO):
    """Stops a pickle as soon as it is larger than allowed, instead of filling the memory with it."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._left = limit

    def write(self, data: Any, /) -> int:
        self._left -= memoryview(data).nbytes
        if self._left < 0:
            raise _TooLargeError
        return super().write(data)


def spool_model(
    fitted: Fitted, *, name: str, exchange: Exchange, size_limit: int, distributions: Mapping[str, str]
) -> ModelRecord | None:
    """Serialise one estimator into the exchange; None where it is gone already.

    A model that cannot be pickled, or is larger than ``size_limit`` bytes, is recorded with the reason in
    ``error``.
    """
    estimator = fitted.reference()
    if estimator is None:
        return None
    requirements = tuple(requirements_of(estimator, distributions))
    flavor = "sklearn" if is_sklearn(estimator) else "pyfunc"
    record = ModelRecord(
        model_uid=new_uid(),
        name=name or fitted.class_name,
        class_name=fitted.qualified_name,
        flavor=flavor,
        requirements=requirements,
        signature=fitted.signature,
        digest=None,
        size=0,
    )
    try:
        content = pickle_model(estimator, size_limit)
    except _TooLargeError:
        return replace(record, error=f"larger than model_size_limit ({size_limit} bytes)")
    except Exception as error:  # noqa: BLE001 - pickling runs the code of any class
        return replace(record, error=_why(error))
    example = exchange.put_bytes(fitted.example, durable=False) if fitted.example is not None else None
    return replace(record, digest=exchange.put_bytes(content, durable=False), size=len(content), input_example=example)


def pickle_model(estimator: Any, size_limit: int) -> bytes:
    """The estimator as cloudpickle writes it; classes of the notebook travel by value."""
    import cloudpickle

    target = _Bounded(size_limit)
    cloudpickle.Pickler(target, protocol=5).dump(estimator)
    return target.getvalue()


def _why(error: Exception) -> str:
    try:
        return f"cannot be pickled: {type(error).__name__}: {' '.join(str(error).split())}"[:500]
    except Exception:  # noqa: BLE001 - a user's __str__
        return f"cannot be pickled: {type(error).__name__}"


def is_sklearn(estimator: Any) -> bool:
    """Whether it is an estimator of scikit-learn or derives from one; imports nothing."""
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    return base is not None and isinstance(estimator, base)


def requirements_of(estimator: Any, distributions: Mapping[str, str]) -> Iterable[str]:
    """Pinned distributions of the classes that the estimator consists of, and of what unpickling them
    needs."""
    wanted = [*_ALWAYS]
    seen: set[int] = set()
    queue = [estimator]
    while queue and len(seen) < 200:
        value = queue.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        top = type(value).__module__.partition(".")[0]
        if top not in ("builtins", "__main__"):
            wanted.append(_DISTRIBUTIONS.get(top, top))
        if isinstance(value, list | tuple):
            queue += list(value)[:20]
        elif type(value) is dict:
            queue += list(value.values())[:20]
        elif not isinstance(value, str | int | float | type):
            queue += list(attributes(value).values())[:50]
    if "feature_names_in_" in attributes(estimator) or "pandas" in sys.modules:
        wanted.append("pandas")
    for name in dict.fromkeys(normalised(name) for name in wanted):
        version = distributions.get(name)
        if version is not None:
            yield f"{name}=={version}"
