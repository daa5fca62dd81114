"""What a text says that may differ from one run to the next: time, randomness without a seed, network, environment.

Pure: it reads the code and runs nothing. It names what stands there; whether a metric depends on it is told by
running it again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["time", "randomness", "network", "environment", "absolute_path", "command", "input"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpinned:
    """One thing that no record pins."""

    kind: Kind
    what: str
    """Call, variable of the environment, path or address, as the code names it."""
    where: str
    """``In [3]``, or the name of a module."""


_TIME = re.compile(
    r"(?:time\.(?:time|time_ns|perf_counter|perf_counter_ns|monotonic|localtime|gmtime|ctime|strftime)"
    r"|(?:datetime\.)?datetime\.(?:now|utcnow|today)|(?:datetime\.)?date\.today"
    r"|pandas\.(?:Timestamp|to_datetime)\.(?:now|today|utcnow))"
)
_NEVER_SEEDED = re.compile(r"(?:uuid\.uuid[14]|os\.urandom|secrets\.\w+|random\.SystemRandom.*)")
_GENERATORS = re.compile(
    r"(?:numpy\.random\.(?:default_rng|RandomState|Generator|PCG64|SeedSequence)|random\.Random|torch\.Generator)"
)
_SEEDS = re.compile(
    r"(?:(?P<numpy>numpy\.random\.(?:seed|set_state))|(?P<random>random\.(?:seed|setstate))"
    r"|(?P<torch>torch\.(?:manual_seed|random\.manual_seed)|.*\.seed_everything))"
)
_DRAWS = re.compile(
    r"(?:(?P<numpy>numpy\.random\.(?!seed|set_state|get_state|default_rng|RandomState|Generator|PCG64|SeedSequence)\w+)"
    r"|(?P<random>random\.(?!seed|setstate|getstate|Random|SystemRandom)\w+)"
    r"|(?P<torch>torch\.(?:rand\w*|normal|bernoulli|multinomial)))"
)
_TAKES_RANDOM_STATE = re.compile(
    r"(?:train_test_split|shuffle|resample|RandomForestClassifier|RandomForestRegressor|ExtraTreesClassifier|"
    r"ExtraTreesRegressor|GradientBoostingClassifier|GradientBoostingRegressor|MLPClassifier|MLPRegressor|KMeans|"
    r"MiniBatchKMeans|SGDClassifier|SGDRegressor|RandomizedSearchCV|make_classification|make_regression|make_blobs|"
    r"make_moons|make_circles|TSNE|GaussianMixture|IsolationForest|DecisionTreeClassifier|DecisionTreeRegressor|"
    r"ShuffleSplit|StratifiedShuffleSplit|GroupShuffleSplit|BaggingClassifier|BaggingRegressor|AdaBoostClassifier|"
    r"AdaBoostRegressor)"
)
_SAMPLING = frozenset({"sample"})
"""Methods of frames that draw rows."""
_NETWORK = re.compile(
    r"(?:(?:requests|httpx|aiohttp|boto3)\.\w+.*|urllib\.request\.\w+|socket\.\w+|sklearn\.datasets\.fetch_\w+"
    r"|datasets\.load_dataset|huggingface_hub\.\w+|(?:.*\.)?from_pretrained)"
)
_ADDRESS = re.compile(r"(?:https?|ftp|s3|s3a|gs|gcs|abfss?|az|hdfs|wasbs?)://[^\s\"']+")
_ABSOLUTE = re.compile(r"(?:~?/[\w.@ -]+(?:/[\w.@ -]+)+/?|~/[\w.@ -]+|[A-Za-z]:[\\/][^\n]+)")
_MOST = 200


def find_unpinned(texts: Iterable[tuple[str, str]]) -> tuple[Unpinned, ...]:
    """What the texts, pairs of (where, source), hold. Each thing once for each place, in the order of the texts.

    A seed in any of them counts for all.
    """
    parsed = [(where, tree, commands) for where, (tree, commands) in ((w, _parse(t)) for w, t in texts)]
    aliases: dict[str, str] = {}
    for _, tree, _ in parsed:
        aliases |= _imports(tree)
    seeded = {group for _, tree, commands in parsed for group in _seeded(tree, commands, aliases)}
    found: dict[tuple[str, str, str], Unpinned] = {}
    for where, tree, commands in parsed:
        things = [("command", command) for command in commands if command[:1] == "!"]
        for kind, what in [*things, *_look(tree, aliases, seeded)]:
            item = Unpinned(kind=kind, what=what[:200], where=where)  # type: ignore[arg-type]
            found.setdefault((kind, item.what, where), item)
    return tuple(found.values())[:_MOST]


def imported_modules(texts: Iterable[str]) -> set[str]:
    """Top-level names of the modules that the texts import."""
    found: set[str] = set()
    for text in texts:
        tree, _ = _parse(text)
        found |= {name.partition(".")[0] for name in _imports(tree, everything=True).values()}
    return found


def _parse(text: str) -> tuple[ast.Module, list[str]]:
    """The Python of a cell, and its lines that are no Python."""
    commands, lines = [], []
    for line in text.splitlines():
        stripped = line.lstrip()
        if stripped[:1] in ("%", "!") and not stripped.startswith("!="):
            commands.append(stripped)
            lines.append(line[: len(line) - len(stripped)] + "pass")
        else:
            lines.append(line)
    try:
        return ast.parse("\n".join(lines)), commands
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module(body=[], type_ignores=[]), commands


def _imports(tree: ast.Module, *, everything: bool = False) -> dict[str, str]:
    """Dotted names by the names under which they are used."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            if everything:
                found[f"{node.module} "] = node.module
    return found


def _dotted(node: ast.expr, aliases: Mapping[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ".".join(["", *reversed(parts)])  # a method of something that has no name
    return ".".join([aliases.get(node.id, node.id), *reversed(parts)])


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _seeded(tree: ast.Module, commands: list[str], aliases: Mapping[str, str]) -> Iterator[str]:
    if any(re.match(r"%%?track\b.*--seed", command) for command in commands):
        yield from ("numpy", "random", "torch")
    for call in _calls(tree):
        match = _SEEDS.fullmatch(_dotted(call.func, aliases))
        if match and (call.args or call.keywords):
            yield match.lastgroup or ""


def _look(tree: ast.Module, aliases: Mapping[str, str], seeded: set[str]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _look_at_call(node, aliases, seeded)
        elif isinstance(node, ast.Subscript) and _dotted(node.value, aliases) == "os.environ":
            if isinstance(node.ctx, ast.Load):
                yield "environment", _first_text([node.slice]) or "os.environ"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 1_000:
            if _ADDRESS.fullmatch(node.value):
                yield "network", _without_secrets(node.value)
            elif _ABSOLUTE.fullmatch(node.value):
                yield "absolute_path", node.value


def _look_at_call(call: ast.Call, aliases: Mapping[str, str], seeded: set[str]) -> Iterator[tuple[str, str]]:
    name = _dotted(call.func, aliases)
    last = name.rpartition(".")[2]
    keywords = {keyword.arg for keyword in call.keywords}
    draw = _DRAWS.fullmatch(name)
    if name == "input":
        yield "input", "input()"
    elif _TIME.fullmatch(name):
        yield "time", f"{name}()"
    elif _NEVER_SEEDED.fullmatch(name):
        yield "randomness", f"{name}()"
    elif _GENERATORS.fullmatch(name):
        if not call.args and not keywords:
            yield "randomness", f"{name}() without a seed"
    elif draw is not None and "." in name:
        if draw.lastgroup not in seeded:
            yield "randomness", f"{name}() without a seed"
    elif _TAKES_RANDOM_STATE.fullmatch(last) or (last in _SAMPLING and "." in name):
        # These draw from numpy's generator where they get none; ``**options`` may hold one.
        if "numpy" not in seeded and not keywords & {"random_state", None}:
            yield "randomness", f"{last}() without random_state"
    elif name in ("os.getenv", "os.environ.get"):
        yield "environment", _first_text(call.args) or name
    elif _NETWORK.fullmatch(name):
        yield "network", f"{name}()"


def _first_text(nodes: list[ast.expr]) -> str | None:
    node = nodes[0] if nodes else None
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _without_secrets(address: str) -> str:
    """An address without user, password, query and fragment."""
    scheme, _, rest = address.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{re.split(r'[?#]', path)[0]}"
