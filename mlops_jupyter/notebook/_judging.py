"""How much a literal looks like something that a person varies, judged by its form alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mlops_jupyter.analysis._literals import looks_like_path

from . import _known_arguments as known
from ._places import Place

if TYPE_CHECKING:
    from .candidates import Origin

_ESTIMATOR = re.compile(r"^[A-Z]\w*(?:Classifier|Regressor|Regression|CV|SVC|SVR|Clustering|Booster|Forest|Ranker)$|"
                        r"^(?:SVC|SVR|LinearSVC|KMeans|DBSCAN|PCA|NMF|Ridge|Lasso|ElasticNet|TSNE|UMAP|Adam|AdamW|"
                        r"SGD|RMSprop|DataLoader|XGB\w+|LGBM\w+|CatBoost\w*|Prophet|ARIMA|SARIMAX|TfidfVectorizer|"
                        r"CountVectorizer|MiniBatchKMeans|IsolationForest|GaussianMixture|"
                        r"TrainingArguments)$")  # fmt: skip
_COUNTED = {"epoch": "epochs", "ep": "epochs", "step": "steps", "iteration": "iterations", "it": "iterations",
            "trial": "trials", "fold": "folds", "episode": "episodes", "round": "rounds"}  # fmt: skip
_STAGING = re.compile(r"(?:fig|plot|color|colour|title|label|font|cmap|style|col|cols|columns|features|name|names|text|"
                      r"msg|message|html|css|query|sql|prompt|template|doc|idx|index|total|count|counter|result|res|"
                      r"tmp|temp|debug|verbose|i|j|palette|colors|width|height)s?$", re.IGNORECASE)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judged:
    """What a literal's form says."""

    score: float
    reason: str
    origin: Origin
    name: str = ""
    """A better name than the place's own."""


def judge(place: Place) -> Judged | None:
    """The judgement, or None where nothing speaks for a literal."""
    found = _JUDGES[place.kind](place)
    if found is None or found.score <= 0:
        return None
    return found


def _assignment(place: Place) -> Judged | None:
    value, name = place.value, place.name
    if known.SEEDS.get(name.lower()) or name.lower().endswith("_seed"):
        return Judged(2.8, "a seed", "seed") if isinstance(value, int | None) else None
    if name.startswith("_") or value is None:
        argument = known.known_argument(name)
        return Judged(argument.weight, "a well-known setting", "assignment") if argument and value is None else None
    if isinstance(value, dict):
        return _dict(place)
    score = 2.4
    last = name.lower().split("_")[-1]
    argument = known.known_argument(name.lower()) or known.known_argument(name)
    if argument is not None:
        score = argument.weight + 0.2
    elif isinstance(value, str) and looks_like_path(value):
        return Judged(2.6, "a path", "path")
    elif _STAGING.match(last):
        score = 0.8
    elif len(name) == 1:
        score = 0.6
    if name.isupper() and len(name) > 1:
        score += 0.6
    if isinstance(value, list | tuple):
        if not value:
            return None  # filled later
        score -= 0.8 if len(value) <= 12 and argument is None else 0.2
        score -= 1.0 if len(value) > 12 else 0.0
    if isinstance(value, str) and (len(value) > 200 or "\n" in value):
        score -= 1.5
    if value == 0 and argument is None and type(value) is int and not name.isupper():
        score -= 1.4  # a counter's start
    return Judged(score, "a value set once", "assignment")


def _words(name: str) -> set[str]:
    return set(re.split(r"[_\W]+", name.lower()))


def _dict(place: Place) -> Judged | None:
    value = place.value
    if not value:
        return None
    if _is_grid(value) and (
        _words(place.name) & (known.CONFIG_WORDS | {"distributions", "search"}) or _all_known(value)
    ):
        return Judged(3.0, "a grid of settings", "grid")
    if _words(place.name) & known.CONFIG_WORDS:
        return Judged(1.4, "a dict of settings", "dict")
    return Judged(0.5, "a dict set once", "dict")


def _is_grid(value: dict[Any, Any]) -> bool:
    return all(isinstance(item, list | tuple) and len(item) > 0 for item in value.values())


def _all_known(value: dict[Any, Any]) -> bool:
    return all(isinstance(key, str) and known.known_argument(key.split("__")[-1]) for key in value)


def _entry(place: Place) -> Judged | None:
    config = bool(_words(place.callee) & known.CONFIG_WORDS)
    argument = known.known_argument(place.name) or known.known_argument(place.name.split("_")[-1])
    argument = argument or known.known_argument(place.name.lower())
    if isinstance(place.value, list | tuple) and not config:
        return None
    if place.name in known.SEEDS:
        return Judged(2.6, "a seed", "seed")
    if argument is None and not config:
        return None
    of = f"entry of {place.callee}" if place.callee else "entry of a dict of settings"
    grid = isinstance(place.value, list | tuple)
    score = (argument.weight if argument else 2.0) - (0.0 if config else 1.2) - (1.0 if grid else 0.0)
    if not argument and isinstance(place.value, bool | None):
        score -= 0.6
    return Judged(score, of, "grid" if grid else "dict")


def _keyword(place: Place) -> Judged | None:
    callee = place.callee.split(".")
    last, first = callee[-1], callee[0]
    if place.callee == "dict":
        return _entry(_as_entry(place))
    if place.name in known.SEEDS:
        return Judged(2.6, f"a seed, of {last}" if last else "a seed", "seed")
    if isinstance(place.value, dict):
        if _is_grid(place.value) and place.value:
            return Judged(2.8, f"a grid, {place.name} of {last}", "grid")
        return None
    if first in known.DISPLAY_MODULES or last in known.DISPLAY_CALLS or place.name in known.PLUMBING:
        return None
    argument = known.known_argument(place.name)
    estimator = _ESTIMATOR.match(last) is not None
    if isinstance(place.value, str) and looks_like_path(place.value):
        return Judged(2.2, f"a path, {place.name} of {last}", "path")
    reason = f"keyword of {last}" if last else "keyword of a call"
    if argument is not None:
        return Judged(argument.weight + (0.4 if estimator or last in known.SPLITS else 0.0), reason, "keyword")
    if isinstance(place.value, list) or place.value is None:
        return None
    number = isinstance(place.value, int | float) and not isinstance(place.value, bool)
    if estimator or last in known.SPLITS or last in known.READERS:
        return Judged(2.2 if number else 1.5, reason, "keyword")
    if last[:1].isupper() and number:
        return Judged(1.4, reason, "keyword")
    return Judged(0.9, reason, "keyword") if number else None


def _as_entry(place: Place) -> Place:
    from dataclasses import replace

    return replace(place, callee=place.target)


def _argument(place: Place) -> Judged | None:
    last = place.callee.split(".")[-1]
    value = place.value
    if isinstance(value, int) and place.position == 0 and (place.callee in known.SEED_CALLS):
        return Judged(2.6, f"a seed, of {place.callee}", "seed", name="seed")
    if isinstance(value, str):
        if last in known.PATH_CALLS and (looks_like_path(value) or last in known.READERS) and "*" not in value:
            score = 2.5 if last in known.READERS else 1.2
            return Judged(score, f"a path, given to {last}", "path", name=_path_name(value))
        return None
    if place.position == 0 and last in known.FIRST_ARGUMENT:
        name = known.FIRST_ARGUMENT[last]
        argument = known.known_argument(name)
        return Judged(argument.weight if argument else 2.0, f"first argument of {last}", "keyword", name=name)
    return None


def _path_name(path: str) -> str:
    stem = PurePosixPath(path.split("://", 1)[-1].replace("\\", "/")).name.split(".")[0]
    words = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_").lower()[:30].strip("_")
    return f"{words}_path" if words and not words[0].isdigit() else "data_path"


def _default(place: Place) -> Judged | None:
    if place.name in known.SEEDS:
        return Judged(1.8, f"default of {place.callee}()", "seed")
    argument = known.known_argument(place.name)
    if argument is None or isinstance(place.value, str | None):
        return None
    return Judged(argument.weight - 1.6, f"default of {place.callee}()", "keyword")


def _loop(place: Place) -> Judged | None:
    name = _COUNTED.get(place.name.lower(), "")
    if not name or place.value < 2:
        return None
    return Judged(3.3 if name == "epochs" else 2.2, f"how many {name} a loop runs", "keyword", name=name)


_JUDGES = {
    "assignment": _assignment,
    "entry": _entry,
    "keyword": _keyword,
    "argument": _argument,
    "default": _default,
    "loop": _loop,
}
