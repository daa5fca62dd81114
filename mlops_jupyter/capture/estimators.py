"""What the probes of one run see: estimators that are fitted, data they see, scores, and their names.

Metrics of scoring calls are named as MLflow's autologging names them: ``LogisticRegression_score_X_test``,
``accuracy_score_X_test``, and ``accuracy_score-2_X_test`` for the second call in the run. One call in the
text that runs many times (a loop) is one metric with a value a step.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_jupyter.entities import DatasetVersion, Digest, Metric, ParamSource

from . import datasets
from .findings import Found, scalar
from .fingerprint import fingerprint
from .valueprobes import UNSEEN, Seen

_FITTED_LIMIT = 50
"""Estimators of one cell that are kept apart; a search fits thousands, of which the last ones are left."""
_STEPS_LIMIT = 10_000
_FINGERPRINT_BYTES = 16 * 1024 * 1024
"""Larger data is sampled."""
_FINGERPRINT_TOTAL = 0.05
"""Seconds of one cell that fingerprints of data may take together; beyond it a known one is taken again."""


@dataclass(slots=True)
class Fitted:
    """An estimator whose fit returned in the run. The object itself is held weakly where it can be."""

    reference: Callable[[], Any]
    class_name: str
    qualified_name: str
    params: list[Found]
    signature: str = ""
    example: bytes | None = None
    reads: str = ""
    """Name of the data that it was fitted on."""


@dataclass(slots=True)
class _Prediction:
    reference: Callable[[], Any]
    data_name: str


@dataclass(slots=True)
class Sightings:
    """All of one run. Filled in whatever thread the user's code runs in."""

    fitted: dict[int, Fitted] = field(default_factory=dict)
    """By identity of the estimator, in the order of the last fit."""
    datasets: dict[tuple[str, str, str], DatasetVersion] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    scored: list[Any] = field(default_factory=list)
    """Results of scoring calls: small numbers, kept to tell them from other displayed values."""
    extra_params: list[Found] = field(default_factory=list)
    keys: dict[int, str] = field(default_factory=dict)
    """Number of the call in the text -> key of its metric."""
    calls: dict[str, int] = field(default_factory=dict)
    """Metric name -> how many calls in the text gave it."""
    steps: dict[str, int] = field(default_factory=dict)
    fingerprint_seconds: float = 0.0
    digests: dict[int, Digest] = field(default_factory=dict)


class Watcher:
    """The listener of ``valueprobes``: knows the run that is open and predictions made before it."""

    def __init__(self, fault: Callable[[str, BaseException], None]) -> None:
        self._fault = fault
        self._lock = threading.RLock()
        self._predictions: dict[int, _Prediction] = {}
        self.sightings: Sightings | None = None
        self.source = ""
        """What data sets name as their source while nothing better is known: ``cell:EXECUTION_ID``."""

    def begin(self) -> None:
        """A cell of a run is about to run."""
        self.sightings = Sightings()

    def end(self) -> Sightings:
        """The cell is over; what was seen in it."""
        sightings, self.sightings = self.sightings, None
        return sightings or Sightings()

    def receive(self, seen: Seen) -> None:
        """One recognised call ended. Never raises."""
        try:
            with self._lock:
                self._receive(seen)
        except Exception as error:  # noqa: BLE001 - this runs inside of the user's call
            self._fault("looking at a fitted model", error)

    def _receive(self, seen: Seen) -> None:
        kind = seen.site.kind
        if kind == "predict":
            self._remember_prediction(seen)
        sightings = self.sightings
        if sightings is None:
            return
        if kind in ("fit", "validate"):
            self._fit(sightings, seen)
        elif kind == "score":
            if is_estimator(seen.receiver):
                class_name = type(seen.receiver).__name__
                name = self._data(sightings, seen, 0, "evaluation") or "unknown_dataset"
                self._metric(sightings, seen, f"{class_name}_score", name)
        elif kind == "metric":
            self._metric(sightings, seen, seen.site.function, self._metric_data(seen))

    def _fit(self, sightings: Sightings, seen: Seen) -> None:
        estimator = seen.receiver
        if estimator is UNSEEN or not is_estimator(estimator):
            return
        name = self._data(sightings, seen, 0, "training") or "X"
        self._data(sightings, seen, 1, "training")
        params = hyper_parameters(estimator)
        if seen.site.kind == "validate":
            sightings.extra_params += params
            return
        features, target = seen.arguments
        fitted = Fitted(
            _reference(estimator),
            type(estimator).__name__,
            f"{type(estimator).__module__}.{type(estimator).__qualname__}",
            params + _search_results(sightings, estimator),
            reads=name,
        )
        if features is not UNSEEN and datasets.is_data(features):
            predicts = _has(type(estimator), "predict")
            fitted.signature = datasets.signature(features, target if predicts and target is not UNSEEN else None)
            fitted.example = datasets.input_example(features)
        sightings.fitted.pop(id(estimator), None)
        sightings.fitted[id(estimator)] = fitted
        while len(sightings.fitted) > _FITTED_LIMIT:
            del sightings.fitted[next(iter(sightings.fitted))]

    def _data(self, sightings: Sightings, seen: Seen, index: int, context: str) -> str | None:
        """Record an argument as a data set; what it is called."""
        value, name = seen.arguments[index], seen.site.names[index]
        if value is UNSEEN or value is None or not datasets.is_data(value):
            return name
        label = name or ("X", "y")[index]
        digest = self._digest(sightings, value)
        if digest is not None:
            found = DatasetVersion(
                name=label,
                digest=digest,
                source=self.source,
                context=context,
                shape=datasets.shape_of(value),
                schema=datasets.schema_of(value),
            )
            sightings.datasets.setdefault((label, digest, context), found)
        return name

    def _digest(self, sightings: Sightings, value: Any) -> Digest | None:
        known = sightings.digests.get(id(value))
        if known is not None and sightings.fingerprint_seconds > _FINGERPRINT_TOTAL:
            return known
        began = time.thread_time()
        found = fingerprint(value, budget_bytes=_FINGERPRINT_BYTES)
        sightings.fingerprint_seconds += time.thread_time() - began
        if found is None:
            return None
        sightings.digests[id(value)] = found.digest
        return found.digest

    def _remember_prediction(self, seen: Seen) -> None:
        name = seen.site.names[0]
        if name is None or seen.result is UNSEEN or type(seen.result) in (list, tuple, int, float):
            return
        if len(self._predictions) > 1000:
            self._predictions = {k: p for k, p in self._predictions.items() if p.reference() is not None}
        self._predictions[id(seen.result)] = _Prediction(_reference(seen.result, strong=False), name)

    def _metric_data(self, seen: Seen) -> str:
        for value in seen.arguments:
            prediction = self._predictions.get(id(value))
            if prediction is not None and prediction.reference() is value:
                return prediction.data_name
        return seen.site.names[0] or seen.site.names[1] or "unknown_dataset"

    def _metric(self, sightings: Sightings, seen: Seen, name: str, data_name: str) -> None:
        value = scalar(seen.result)
        if value is None:
            return
        key = sightings.keys.get(seen.site.number)
        if key is None or not key.startswith(name):
            sightings.calls[name] = count = sightings.calls.get(name, 0) + 1
            key = f"{name}_{data_name}" if count == 1 else f"{name}-{count}_{data_name}"
            sightings.keys[seen.site.number] = key
        step = sightings.steps.get(key, -1) + 1
        sightings.steps[key] = step
        if step < _STEPS_LIMIT:
            sightings.metrics.append(Metric(key=key, value=value, step=step, timestamp=int(time.time() * 1000)))
            sightings.scored.append(seen.result)


def _reference(value: Any, *, strong: bool = True) -> Callable[[], Any]:
    try:
        return weakref.ref(value)
    except TypeError:
        return (lambda: value) if strong else (lambda: None)


def _has(kind: type, name: str) -> bool:
    """Whether the class has an attribute, without running a descriptor or ``__getattr__``."""
    return any(name in vars(base) for base in kind.__mro__)


def is_estimator(value: Any) -> bool:
    """Whether ``value`` keeps scikit-learn's conventions: an instance whose class has ``fit`` and
    ``get_params``."""
    kind = type(value)
    return kind is not type and _has(kind, "fit") and _has(kind, "get_params")


def attributes(value: Any) -> Mapping[str, Any]:
    """The instance's own attributes, read past any ``__getattribute__``; empty where it has none."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except Exception:  # noqa: BLE001 - slots, proxies
        return {}
    return found if isinstance(found, dict) else {}


def looks_fitted(value: Any) -> bool:
    """Whether an estimator has attributes that only a fit gives (``coef_``)."""
    return is_estimator(value) and any(
        name.endswith("_") and not name.startswith("_") for name in list(attributes(value))
    )


def hyper_parameters(estimator: Any) -> list[Found]:
    """What ``get_params(deep=True)`` says, as MLflow's autologging records it."""
    class_name = type(estimator).__name__
    try:
        params = estimator.get_params(deep=True)
    except Exception:  # noqa: BLE001 - a class of the user's; then it has none that could be told
        return []
    if not isinstance(params, dict):
        return []
    return [
        Found(str(key), value, ParamSource.ESTIMATOR, class_name)
        for key, value in params.items()
        if not is_estimator(value) or "__" not in str(key)
    ]


def _search_results(sightings: Sightings, estimator: Any) -> list[Found]:
    """The outcome of a search (``GridSearchCV``): ``best_…`` parameters and ``best_cv_score``, as MLflow
    names them."""
    state = attributes(estimator)
    best, score = state.get("best_params_"), scalar(state.get("best_score_"))
    if score is not None:
        sightings.metrics.append(Metric(key="best_cv_score", value=score, step=0, timestamp=int(time.time() * 1000)))
    if not isinstance(best, dict):
        return []
    return [
        Found(f"best_{key}", value, ParamSource.ESTIMATOR, type(estimator).__name__)
        for key, value in best.items()
        if isinstance(key, str)
    ]
