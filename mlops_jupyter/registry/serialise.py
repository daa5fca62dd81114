"""From a recorded model to what is registered: skops where it can be and gives the same, else the bytes as recorded.

A recorded model is loaded here only where all that it names is installed libraries in the versions that it was
recorded with. Loading those makes new objects and touches nothing else, so it may happen inside of the user's kernel;
code of a notebook is never run again, its bytes are passed on as they are.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlops_jupyter.errors import UsageError

from .local_modules import LocalCode
from .pickled import Named, named, top_modules

NATIVE = ("xgboost", "lightgbm", "catboost", "statsmodels", "torch", "keras", "tensorflow", "prophet", "spacy")
"""Libraries whose models MLflow saves in a format of their own, by their top module."""

_SAFE_TOPS = frozenset({"sklearn", "numpy", "scipy"})
"""What skops may make beyond its own list without being asked: the libraries that the model is of anyway."""
_PLAIN_TOPS = frozenset(
    {
        *_SAFE_TOPS, *NATIVE, "pandas", "builtins", "collections", "copyreg", "_codecs", "datetime", "decimal",
        "functools", "operator", "pyarrow", "joblib", "imblearn", "skorch", "category_encoders",
    }
)  # fmt: skip
_SAMPLES = 16
METHODS = ("predict", "predict_proba", "decision_function", "transform")
"""What a model's versions are compared by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serialised:
    """A model as it will be registered."""

    data: bytes
    serialization: Literal["cloudpickle", "skops"] = "cloudpickle"
    flavor: str
    """``sklearn``, ``pyfunc``, or a library of ``NATIVE``."""
    trusted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences for people: why not skops, what was checked."""
    model: Any = None
    """The loaded model, where it was loaded."""
    local: LocalCode | None = None


def recorded(
    content: bytes,
    *,
    flavor: str,
    requirements: Sequence[str],
    example: Any,
    trust: Collection[str],
    find_local: Callable[[Collection[str]], LocalCode],
) -> Serialised:
    """A model of a recorded run, from its pickled bytes.

    Raises:
        UsageError: it needs a module that is neither installed nor in the workspace.
    """
    try:
        names = named(content)
    except ValueError as error:
        raise UsageError(f"The recorded model is no pickle: {error}.", hint="Run the cell again.") from error
    kept = Serialised(data=content, flavor=flavor)
    if names.by_value:
        return replace(
            kept,
            local=find_local(names.modules),
            notes=(
                "It holds code that the notebook defined, which travels inside of a cloudpickle; skops keeps none.",
            ),
        )
    local = find_local(names.modules)
    if local.files:
        files = ", ".join(sorted(local.files))
        note = f"Its classes are in {files}, which travels with it; skops would have to trust them."
        return replace(kept, local=local, notes=(note,))
    foreign = top_modules(names.modules) - _PLAIN_TOPS
    if foreign:
        shown = ", ".join(sorted(foreign))
        return replace(kept, notes=(f"It stays a cloudpickle: it is also made of {shown}, which was not loaded.",))
    moved = moved_versions(requirements, names)
    if moved:
        note = f"It stays a cloudpickle: it was recorded with {moved}, so loading it here would change it."
        return replace(kept, notes=(note,))
    try:
        model = _load(content)
    except Exception as error:  # noqa: BLE001 - a library's own unpickling
        note = f"It stays a cloudpickle: it could not be loaded here ({_line(error)})."
        return replace(kept, notes=(note,))
    top = native_library(model)
    if top is not None:
        return replace(kept, flavor=top, model=model)
    return as_skops(replace(kept, model=model), example=example, trust=trust)


def as_skops(kept: Serialised, *, example: Any, trust: Collection[str]) -> Serialised:
    """``kept`` (loaded) in skops' format where that holds the same model; else ``kept`` with the reason."""
    if kept.flavor != "sklearn":
        return kept
    try:
        import skops.io
    except ImportError:
        return replace(kept, notes=(*kept.notes, "It stays a cloudpickle: skops is not installed here."))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = skops.io.dumps(kept.model)
            wanted = [str(name) for name in skops.io.get_untrusted_types(data=data)]
            unknown = [name for name in wanted if name.partition(".")[0] not in _SAFE_TOPS and name not in trust]
            if unknown:
                shown = " ".join(f"--trust {name}" for name in unknown)
                note = (
                    f"It stays a cloudpickle: skops would have to trust {', '.join(unknown)} (allow it with {shown})."
                )
                return replace(kept, notes=(*kept.notes, note))
            again = skops.io.loads(data, trusted=wanted)
            difference = compare(kept.model, again, example)
    except Exception as error:  # noqa: BLE001 - skops on any class there is
        note = f"It stays a cloudpickle: skops cannot hold it ({_line(error)})."
        return replace(kept, notes=(*kept.notes, note))
    if difference is not None:
        return replace(kept, notes=(*kept.notes, f"It stays a cloudpickle: {difference}."))
    return replace(kept, data=data, serialization="skops", trusted=tuple(wanted))


def compare(model: Any, again: Any, example: Any, *, what: str = "skops") -> str | None:
    """Whether both give the same for the input example (else for numbers made up); None, or what differs in the
    version that ``what`` made."""
    import numpy as np

    inputs = example_data(example)
    if inputs is None:
        width = getattr(model, "n_features_in_", None)
        if not isinstance(width, int):
            return f"there is no input example to check the {what} version with"
        inputs = np.random.default_rng(0).normal(size=(_SAMPLES, width))
    compared = False
    for method in METHODS:
        if not (hasattr(model, method) and hasattr(again, method)):
            continue
        try:
            expected = getattr(model, method)(inputs)
        except Exception:  # noqa: BLE001, S112 - what the model cannot do itself compares nothing
            continue
        if not _same(expected, getattr(again, method)(inputs)):
            return f"the {what} version gives another {method}() for the input example"
        compared = True
    return None if compared else f"the {what} version could not be checked with the input example"


def example_data(example: Any) -> Any:
    """The recorded input example as a frame or an array, or None."""
    if not isinstance(example, dict):
        return None
    if "dataframe_split" in example:
        import pandas as pd

        return pd.DataFrame(**{k: example["dataframe_split"][k] for k in ("columns", "data")})
    if "inputs" in example:
        import numpy as np

        return np.asarray(example["inputs"])
    return None


def native_library(model: Any) -> str | None:
    """The library of ``NATIVE`` that a class of the model is of, or None."""
    tops = [kind.__module__.partition(".")[0] for kind in type(model).__mro__]
    return next((top for top in tops if top in NATIVE), None)


def moved_versions(requirements: Sequence[str], names: Named) -> str:
    """``scikit-learn 1.5.0 (here 1.9.1)`` for libraries that are here in another version than recorded; or empty."""
    from importlib.metadata import PackageNotFoundError, version

    tops = {"scikit-learn" if top == "sklearn" else top for top in top_modules(names.modules)}
    moved = []
    for requirement in requirements:
        name, _, wanted = requirement.partition("==")
        if name.replace("-", "_") not in {top.replace("-", "_") for top in tops} or not wanted:
            continue
        try:
            here = version(name)
        except PackageNotFoundError:
            here = "not installed"
        if here != wanted:
            moved.append(f"{name} {wanted} (here {here})")
    return ", ".join(moved)


def infer_outputs(model: Any, example: Any) -> Any:
    """What the model predicts for its input example, or None where it does not."""
    inputs = example_data(example)
    if inputs is None or model is None:
        return None
    for method in ("predict", "transform"):
        if hasattr(model, method):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return getattr(model, method)(inputs)
            except Exception:  # noqa: BLE001 - an example that went through JSON may have lost a type
                return None
    return None


def _load(content: bytes) -> Any:
    import pickle

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.loads(content)


def _same(one: Any, other: Any) -> bool:
    import numpy as np

    for value in (one, other):
        if hasattr(value, "toarray"):
            return _same(one.toarray(), other.toarray())
    first, second = np.asarray(one), np.asarray(other)
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if first.dtype.kind in "fc":
        return bool(np.array_equal(first, second, equal_nan=True))
    if first.dtype.kind == "O":
        pairs = zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
        return all(a == b or (_nan(a) and _nan(b)) for a, b in pairs)
    return bool(np.array_equal(first, second))


def _nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _line(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else text[:199] + "…"


def with_code(code: Mapping[str, bytes], requirements: Sequence[str]) -> Sequence[str]:
    """Requirements without the distributions that are local modules (a project installed in place)."""
    tops = {path.partition("/")[0].removesuffix(".py").lower().replace("_", "-") for path in code}
    return [r for r in requirements if r.partition("==")[0].lower().replace("_", "-") not in tops]
