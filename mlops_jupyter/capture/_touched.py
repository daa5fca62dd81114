"""Names whose objects a cell may change, with fingerprints from before it runs, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

from mlops_jupyter.analysis import CellAnalysis, Function, Touch, TouchKind, Where
from mlops_jupyter.entities import Grade

from ._inspect import class_dict, has_method, identity, is_heap_type, module_name, mro_of
from .fingerprint import BUDGET_BYTES, Fingerprint, measure
from .namespace import AliasIndex, is_hidden

_NODES = 6_000
_MOST = 400
"""Names that are looked at in one cell."""

_IMMUTABLE = frozenset(map(identity, (type(None), bool, int, float, complex, str, bytes, type(...), range)))

PURE_METHODS = frozenset(
    {"predict", "predict_proba", "predict_log_proba", "decision_function", "score", "score_samples",
    "transform",
     "inverse_transform", "get_params", "head", "tail", "describe", "copy", "to_csv", "to_parquet",
     "to_dict", "to_json", "to_numpy", "tolist", "mean", "sum", "std", "min", "max", "count", "groupby",
     "get_feature_names_out",
     "staged_predict", "kneighbors", "apply", "decision_path", "evaluate_model", "summary", "state_dict",
     "parameters"}
)  # fmt: skip
"""Methods of library objects that leave them as they were, where the objects cannot be looked into."""

PURE_FUNCTIONS = frozenset(
    {"print", "len", "type", "isinstance", "issubclass", "id", "hash", "repr", "str", "format", "callable",
    "hasattr",
     "bool", "dir", "display", "help"}
)  # fmt: skip


@dataclass(slots=True)
class Candidate:
    """A name whose object may change, and its fingerprint before."""

    before: Fingerprint | None
    budget_bytes: int
    budget_nodes: int
    number: int
    alias_of: str | None
    """The touched name that it shares an object with, None where it is touched itself."""
    immutable: bool


@dataclass(slots=True)
class Touched:
    """The candidates of one cell."""

    touches: dict[str, list[Touch]] = field(default_factory=dict)
    by_function: dict[str, list[tuple[Function, Touch]]] = field(default_factory=dict)
    candidates: dict[str, Candidate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A name's object was changed in place."""

    name: str
    grade: Grade
    reason: str
    rebound: bool = False
    """The name was bound anew after all, to another object at the same address."""


def find_touched(
    analysis: CellAnalysis,
    namespace: Mapping[str, Any],
    snapshot: Mapping[str, int],
    index: AliasIndex,
    functions: Iterable[Function],
) -> Touched:
    """Candidates for mutation among the names that exist before the cell runs."""
    found = Touched()
    for touch in analysis.touches:
        _add(found, touch.name, touch, snapshot)
    for load in analysis.loads:
        if load.name in snapshot and _changed_by_looking(type(namespace.get(load.name))):
            _add(found, load.name, Touch(load.name, TouchKind.RECEIVER, load.at, detail="__getitem__"), snapshot)
    for store in analysis.stores:
        if not store.certain or store.at.branch >= 0:
            _add(found, store.name, Touch(store.name, TouchKind.CONDITIONAL_STORE, store.at), snapshot)
    for function in functions:
        for touch in function.touches:
            if touch.name in snapshot:
                found.by_function.setdefault(touch.name, []).append((function, touch))
        for name in function.writes:
            if name in snapshot:
                touch = Touch(name, TouchKind.CONDITIONAL_STORE, _ANYWHERE)
                found.by_function.setdefault(name, []).append((function, touch))
    if analysis.dynamic:
        for name in list(snapshot)[-_MOST:]:
            if not is_hidden(name):
                touch = Touch(name, TouchKind.ARGUMENT, _ANYWHERE, detail="exec", direct=False)
                _add(found, name, touch, snapshot)
    _fingerprint_all(found, namespace, snapshot, index)
    return found


def _changed_by_looking(cls: type) -> bool:
    """Whether a look at an item or an attribute may change the object; its fingerprint tells.

    A defaultdict makes the item, a property of a class of the notebook may keep what it has computed.
    """
    if has_method(cls, "__missing__"):
        return True
    return module_name(cls) == "__main__" and any(
        type(entry) in _ACCESSORS or name in _LOOKS
        for base in mro_of(cls)
        if module_name(base) == "__main__"
        for name, entry in class_dict(base).items()
    )


_ACCESSORS = frozenset((property, cached_property))
_LOOKS = frozenset(("__getattr__", "__getattribute__", "__getitem__"))

_ANYWHERE = Where(0, 0, -1, loop=True)


def _add(found: Touched, name: str, touch: Touch, snapshot: Mapping[str, int]) -> None:
    if name in snapshot and not is_hidden(name):
        found.touches.setdefault(name, []).append(touch)


def _fingerprint_all(
    found: Touched, namespace: Mapping[str, Any], snapshot: Mapping[str, int], index: AliasIndex
) -> None:
    order: dict[str, str | None] = dict.fromkeys([*found.touches, *found.by_function])
    for name in list(order):
        for alias in sorted(index.aliases(name)):
            if alias in snapshot:
                order.setdefault(alias, name)
    left_bytes, left_nodes = BUDGET_BYTES, _NODES
    known: dict[int, Candidate] = {}
    for name, alias_of in list(order.items())[:_MOST]:
        value = namespace.get(name)
        if type(value) is ModuleType:
            continue
        number = snapshot[name]
        same = known.get(number)
        if same is not None:
            found.candidates[name] = Candidate(
                same.before, same.budget_bytes, same.budget_nodes, number, alias_of, same.immutable
            )
            continue
        immutable = identity(type(value)) in _IMMUTABLE
        if immutable and not _may_rebind(found, name):
            continue
        nodes = max(left_nodes, 50)
        budget = max(left_bytes, 0)
        before, used_bytes, used_nodes = measure(value, budget_bytes=budget, budget_nodes=nodes)
        left_bytes -= used_bytes
        left_nodes -= used_nodes
        candidate = Candidate(before, budget, nodes, number, alias_of, immutable)
        known[number] = found.candidates[name] = candidate


def _may_rebind(found: Touched, name: str) -> bool:
    touches = [*found.touches.get(name, ()), *(t for _, t in found.by_function.get(name, ()))]
    return any(t.kind is TouchKind.CONDITIONAL_STORE or t.kind is TouchKind.AUGMENTED for t in touches)


def find_mutations(
    found: Touched,
    namespace: Mapping[str, Any],
    *,
    skip: Iterable[str],
    ran: Iterable[Function],
    possibly: Any,
    certainly: Any,
) -> list[Mutation]:
    """Which candidates were changed in place. ``skip`` are names that were rebound."""
    left_out = set(skip)
    running = set(ran)
    live: dict[str, list[tuple[Touch, str]]] = {}
    for name, touches in found.touches.items():
        reached = [(t, "") for t in touches if possibly(t.at)]
        if reached:
            live[name] = reached
    for name, pairs in found.by_function.items():
        reached = [(t, f.name) for f, t in pairs if f in running]
        if reached:
            live.setdefault(name, []).extend(reached)
    results: list[Mutation] = []
    after: dict[tuple[int, int, int], Fingerprint | None] = {}
    for name, candidate in found.candidates.items():
        touched = live.get(name) or live.get(candidate.alias_of or "")
        if name in left_out or not touched or name not in namespace:
            continue
        value = namespace[name]
        key = (candidate.number, candidate.budget_bytes, candidate.budget_nodes)
        if key not in after:
            after[key] = measure(value, budget_bytes=candidate.budget_bytes, budget_nodes=candidate.budget_nodes)[0]
        result = _judge(name, candidate, after[key], touched, value, namespace, certainly, own=name in live)
        if result is not None:
            results.append(result)
    return [*results, *_instances_of(results, found, namespace, left_out)]


def _instances_of(
    changed: Sequence[Mutation], found: Touched, namespace: Mapping[str, Any], left_out: set[str]
) -> list[Mutation]:
    """A class of the notebook was changed: what reaches it (its instances, what holds them) behaves otherwise now."""
    classes = {m.name: m for m in changed if any(base is type for base in mro_of(type(namespace[m.name])))}
    known = {m.name for m in changed} | left_out
    return [
        Mutation(name, cause.grade, f"its class was changed through {cause.name}")
        for name, candidate in found.candidates.items()
        if name not in known and name in namespace and (cause := classes.get(candidate.alias_of or "")) is not None
    ]


def _judge(
    name: str,
    candidate: Candidate,
    after: Fingerprint | None,
    touched: Sequence[tuple[Touch, str]],
    value: object,
    namespace: Mapping[str, Any],
    certainly: Any,
    *,
    own: bool,
) -> Mutation | None:
    reason = _reason(touched, None if own else candidate.alias_of)
    # A cache in C remembers its calls, and nothing of that can be seen.
    cache = own and type(value).__name__ == "_lru_cache_wrapper"
    before, after = (None, None) if cache else (candidate.before, after)
    explicit = [t for t, f in touched if t.kind.explicit and t.direct and (f or certainly(t.at))]
    if before is not None and after is not None:
        if before.digest != after.digest:
            grade = Grade.SAMPLED if before.grade is Grade.SAMPLED else Grade.EXACT
            rebound = own and all(
                t.kind is TouchKind.CONDITIONAL_STORE or (candidate.immutable and t.kind is TouchKind.AUGMENTED)
                for t, _ in touched
            )
            return Mutation(name, grade, reason, rebound=rebound)
        if own and explicit and not candidate.immutable:
            return Mutation(name, Grade.EXACT, reason)
        if before.grade is Grade.EXACT:
            return None
        if before.grade is Grade.SAMPLED:
            said = [t for t, _ in touched if t.kind.explicit or t.kind in (TouchKind.INPLACE, TouchKind.OUT)]
            return Mutation(name, Grade.DECLARED, reason) if said else None
    if before is None and after is not None and own and not explicit:
        return Mutation(name, Grade.ASSUMED, reason)
    if explicit:
        return Mutation(name, Grade.DECLARED, reason)
    if all(_harmless(t, value, namespace) for t, _ in touched):
        return None
    return Mutation(name, Grade.ASSUMED, f"{reason}, and it cannot be looked into")


def _harmless(touch: Touch, value: object, namespace: Mapping[str, Any]) -> bool:
    """Whether a touch leaves an object that cannot be looked into as it was."""
    cls = type(value)
    if touch.kind is TouchKind.ITERATED:
        return not has_method(cls, "__next__")
    if touch.kind is TouchKind.ARGUMENT:
        return touch.detail in PURE_FUNCTIONS and touch.detail not in namespace
    if touch.kind is TouchKind.RECEIVER:
        return touch.detail in PURE_METHODS and module_name(cls) != "__main__"
    if touch.kind is TouchKind.CALLEE:
        return any(base is type for base in mro_of(cls)) and not (
            is_heap_type(value) and module_name(value) == "__main__"  # type: ignore[arg-type]
        )
    return False


def _reason(touched: Sequence[tuple[Touch, str]], alias_of: str | None) -> str:
    touch, function = touched[0]
    words = {
        TouchKind.ITEM: "item assigned",
        TouchKind.ATTRIBUTE: "attribute assigned",
        TouchKind.AUGMENTED: "changed in place",
        TouchKind.INPLACE: f"{touch.detail}(inplace=True)",
        TouchKind.OUT: "given as out=",
        TouchKind.RECEIVER: f"changed by .{touch.detail}()",
        TouchKind.ARGUMENT: f"changed by {touch.detail or 'a call'}()",
        TouchKind.CALLEE: "changed by its call",
        TouchKind.ITERATED: "consumed by a loop",
        TouchKind.CONTEXT: "changed by a with or await",
        TouchKind.CONDITIONAL_STORE: "rebound",
    }[touch.kind]
    text = f"{words} in {function}()" if function else words
    return f"{text} through {alias_of}" if alias_of else text
