"""From the literals of a notebook to named, typed, ranked candidates."""

from __future__ import annotations

import keyword
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlops_jupyter.analysis import redact
from mlops_jupyter.analysis._literals import looks_like_path
from mlops_jupyter.analysis.secrets import is_secret_name

from . import _annotations as types
from ._cell_names import Names, is_usable
from ._cell_text import CellText, read_cell
from ._comments import help_texts
from ._judging import Judged, judge
from ._places import Place, Span, read_places, text_of
from .candidates import Candidate, Evidence

_Comments = dict[tuple[int, Span], str]
"""Help by cell and span."""

_CHANGED = 5.0
_RECORDED = 3.0
_TAGGED = 10.0
_ANNOTATED = 2.0
_LONGEST = 4_000
"""Characters of the longest literal that is offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    place: Place
    judged: Judged
    cell: int
    annotation: str
    source: str
    secret: bool


def ranked(cells: Sequence[CellText], names: Names, evidence: Evidence, *, before: int = 0) -> list[Candidate]:
    """All candidates, in no order."""
    found: list[_Found] = []
    changed = _changed(cells, evidence)
    for index, cell in enumerate(cells[before:], before):
        for place in read_places(cell):
            one = _consider(place, index, cells, names, evidence, changed)
            if one is not None:
                found.append(one)
    return _named(_merged(found, cells), cells, names)


def _consider(
    place: Place,
    index: int,
    cells: Sequence[CellText],
    names: Names,
    evidence: Evidence,
    changed: frozenset[tuple[str, str]],
) -> _Found | None:
    cell = cells[index]
    tagged = index in evidence.tagged
    if place.kind == "assignment" and not _movable(place, index, cells, names, tagged=tagged):
        return None
    if place.kind != "assignment" and (names.binds_unknown or names.reads_namespace):
        return None  # a new name could be overwritten, or be seen
    if place.repeated and isinstance(place.value, list | dict):
        return None  # each evaluation makes a new object; a parameter is one
    source = text_of(cell, place.span)
    if not source or len(source) > _LONGEST:
        return None
    secret = _is_secret(place, source)
    if isinstance(place.value, list | tuple | dict) and redact(source) != source:
        return None  # a key inside: it is offered by itself
    judged = judge(place)
    signs, reason = _signs(place, evidence, changed, tagged=tagged)
    if judged is None:
        if not signs and not secret:
            return None
        judged = Judged(score=1.0, reason=reason or "a secret", origin=_plain_origin(place))
    annotation = _annotation(place, judged)
    if annotation is None:
        return None
    judged = replace(
        judged,
        score=round(judged.score + signs, 3),
        reason=reason or judged.reason,
        origin="tagged" if tagged and place.kind == "assignment" else judged.origin,
    )
    return _Found(place=place, judged=judged, cell=index, annotation=annotation, source=source, secret=secret)


def _movable(place: Place, cell: int, cells: Sequence[CellText], names: Names, *, tagged: bool) -> bool:
    """Whether an assignment can stand before all other cells."""
    if names.is_bound_once(place.name, cells):
        # A list that a cell makes anew each time it runs must not become one list.
        return len(names.bindings[place.name]) == 1 or not isinstance(place.value, list | dict)
    if not tagged or names.binds_unknown or place.name in names.written_outside or not is_usable(place.name):
        return False
    # In a tagged cell a name may be bound again later, as long as nothing in or before the cell knows it.
    line = place.statement[0]
    here = [at for at in names.bindings.get(place.name, ()) if at[0] == cell]
    before = [at for at in names.mentions.get(place.name, ()) if at[0] < cell or (at[0] == cell and at[1] != line)]
    return len(here) == 1 and not before


def _annotation(place: Place, judged: Judged) -> str | None:
    own = types.of_value(place.value)
    if own is None:
        return None
    if place.annotation is not None:
        written = types.of_annotation(place.annotation)
        if written is not None and types.accepts(written, place.value):
            return written
    known = types.of_name(judged.name or place.name, place.value)
    if known is not None:
        return known
    return None if own == "None" else own


def _signs(place: Place, evidence: Evidence, changed: frozenset[tuple[str, str]], *, tagged: bool) -> tuple[float, str]:
    """What speaks for a literal besides its own form: (weight, the strongest reason)."""
    weight, reasons = 0.0, []
    if tagged and place.kind == "assignment":
        weight += _TAGGED
        reasons.append("in the cell tagged parameters")
    known_by = place.name or place.callee
    if (place.callee, known_by) in changed or (place.name and place.name in evidence.changed):
        weight += _CHANGED
        reasons.append("changed between executions")
    if place.name and _recorded(place, evidence):
        weight += _RECORDED
        reasons.append("recorded as a parameter of runs")
    if place.kind == "assignment" and place.annotation is not None:
        weight += _ANNOTATED
        reasons.append("annotated with a type")
    return weight, reasons[0] if reasons else ""


def _recorded(place: Place, evidence: Evidence) -> bool:
    for key in (place.name, f"{place.target}.{place.name}", f"{place.callee}.{place.name}"):
        if key in evidence.run_params:
            value = evidence.run_params[key]
            return key != place.name or place.kind == "assignment" or value in (str(place.value), repr(place.value))
    return False


def _changed(cells: Sequence[CellText], evidence: Evidence) -> frozenset[tuple[str, str]]:
    """(callee, name) of literals that an earlier text of the same cell had with another value."""
    found: set[tuple[str, str]] = set()
    for index, texts in evidence.earlier.items():
        if not 0 <= index < len(cells):
            continue
        now = _values(cells[index])
        for text in texts:
            before = _values(read_cell(text))
            found |= {(key[1], key[2]) for key in now.keys() & before.keys() if repr(now[key]) != repr(before[key])}
    return frozenset(found)


def _values(cell: CellText) -> dict[tuple[str, str, str, int], Any]:
    found: dict[tuple[str, str, str, int], Any] = {}
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for place in read_places(cell):
        key = (place.kind, place.callee, place.name or place.callee)
        found[(*key, counts[key])] = place.value
        counts[key] += 1
    return found


def _is_secret(place: Place, source: str) -> bool:
    if not isinstance(place.value, str) or not place.value.strip():
        return False
    if is_secret_name(place.name) and len(place.value) > 2 and not place.value.startswith("env:"):
        return not looks_like_path(place.value)
    return redact(source) != source or redact(f"{place.name} = {source}") != f"{place.name} = {source}"


def _plain_origin(place: Place) -> Any:
    return {"assignment": "assignment", "entry": "dict"}.get(place.kind, "keyword")


def _named(groups: list[list[_Found]], cells: Sequence[CellText], names: Names) -> list[Candidate]:
    """Candidates with names of their own: assignments keep theirs; others are prefixed where two would share one."""
    comments = _comments(groups, cells)
    taken = {group[0].place.name for group in groups if group[0].place.kind == "assignment"}
    wanted: dict[str, list[list[_Found]]] = defaultdict(list)
    for group in groups:
        if group[0].place.kind != "assignment":
            wanted[_base(group[0])].append(group)
    result = [_candidate(g, g[0].place.name, comments) for g in groups if g[0].place.kind == "assignment"]
    for base in sorted(wanted):
        rivals = wanted[base]
        for group in rivals:
            options = [base] if len(rivals) == 1 else []
            name = _free([*options, *_prefixed(base, group[0].place)], taken, names)
            if name is not None:
                taken.add(name)
                result.append(_candidate(group, name, comments))
    return result


def _comments(groups: list[list[_Found]], cells: Sequence[CellText]) -> _Comments:
    """Help by cell and line, and by the one literal there that it is about: of several on a line, the best."""
    best: dict[tuple[int, int], _Found] = {}
    for one in (one for group in groups for one in group):
        at = (one.cell, one.place.span[2])
        if at not in best or one.judged.score > best[at].judged.score:
            best[at] = one
    helps = [help_texts(cell) for cell in cells]
    return {(cell, one.place.span): helps[cell].get(line, "") for (cell, line), one in best.items()}


def _merged(found: list[_Found], cells: Sequence[CellText]) -> list[list[_Found]]:
    """Literals that are one parameter: a seed given in several places, the same place of a cell that is there twice."""
    groups: dict[object, list[_Found]] = {}
    for one in found:
        place = one.place
        if one.judged.origin == "seed" and place.kind != "assignment" and type(place.value) is int:
            key: object = ("seed", place.value)
        elif isinstance(place.value, list | dict):
            key = (one.cell, place.span)  # each is an object of its own
        else:
            key = (cells[one.cell].lines, place.span)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _base(one: _Found) -> str:
    name = one.judged.name or one.place.name
    return name if name.isidentifier() else re.sub(r"\W", "_", name)


def _prefixed(base: str, place: Place) -> list[str]:
    """Names with a prefix, the most telling first: the variable, the callee, a number."""
    callee = snake(place.callee.split(".")[-1])
    options = []
    if place.target and place.target.lower() != base and place.kind != "entry":
        options.append(f"{place.target}_{base}")
    if callee and callee != base:
        options.append(f"{callee}_{base}")
    stem = options[-1] if options else base
    return options + [f"{stem}_{number}" for number in range(2, 50)]


def _free(options: Sequence[str], taken: set[str], names: Names) -> str | None:
    for option in options:
        name = option.strip("_")
        name = f"{name}_" if keyword.iskeyword(name) or keyword.issoftkeyword(name) else name
        if name and name not in taken and names.is_free(name):
            return name
    return None


def snake(name: str) -> str:
    """``RandomForestClassifier`` as ``random_forest``: words in lower case, without what every estimator is called."""
    short = re.sub(r"(?<=[a-z0-9])(?:Classifier|Regressor|Regression|CV)$", "", name)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", short).lower()


def _candidate(group: list[_Found], name: str, comments: _Comments) -> Candidate:
    best = max(group, key=lambda one: one.judged.score)
    first, place = group[0], group[0].place
    argument = best.judged.name or best.place.name
    annotation, default, source = best.annotation, place.value, first.source
    if first.secret:
        reference = name.upper()
        annotation, default, source = "str", f"env:{reference}", repr(f"env:{reference}")
    return Candidate(
        name=name, annotation=annotation, default=default, default_source=source,
        help=next((h for h in (comments.get((one.cell, one.place.span), "") for one in group) if h), ""),
        origin=best.judged.origin, cell=first.cell, span=place.span,
        score=best.judged.score - (1.0 if first.secret else 0.0),
        reason="looks like a secret: given as a reference to the environment" if first.secret else best.judged.reason,
        also=tuple(
            (one.cell, one.place.statement if one.place.kind == "assignment" else one.place.span) for one in group[1:]
        ),
        argument=argument if argument != name else "", secret=first.secret,
        statement=place.statement if place.kind == "assignment" else None,
    )  # fmt: skip
