"""Layered drawing of a directed graph: who stands in which row, in which order, and where.

The usual four steps of Sugiyama, Tagawa and Toda (1981): break cycles, assign rows, order each row so that
few arrows cross, give coordinates. Arrows over several rows get a place in each row between, so they pass
beside the boxes.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 12
"""Passes over the rows that look for an order with fewer crossings."""
GAP_X = 22.0
GAP_Y = 44.0
_BEND_WIDTH = 10.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height of a box, pixels."""

    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is, in pixels from the top left corner."""

    centres: Mapping[str, Point]
    routes: Mapping[tuple[str, str], tuple[Point, ...]]
    """Points that an arrow passes, from the edge of its source's box to that of its target."""
    width: float
    height: float


def layout(sizes: Mapping[str, Size], arrows: Sequence[tuple[str, str]]) -> Layout:
    """Positions for boxes of ``sizes`` (in their natural order) and routes for ``arrows`` between them."""
    forward = _acyclic(list(sizes), [a for a in arrows if a[0] != a[1]])
    row_of = _rows(list(sizes), forward)
    grid, links, bends = _with_bends(list(sizes), row_of, forward)
    grid = _ordered(grid, links)
    widths = {key: sizes[key].width if key in sizes else _BEND_WIDTH for row in grid for key in row}
    xs = _horizontal(grid, links, widths)
    left = min((xs[k] - widths[k] / 2 for k in xs), default=0.0)
    tops: list[float] = []
    heights: list[float] = []
    y = 0.0
    for row in grid:
        height = max((sizes[k].height for k in row if k in sizes), default=0.0)
        tops.append(y)
        heights.append(height)
        y += height + GAP_Y
    centres = {k: (xs[k] - left, tops[r] + heights[r] / 2) for r, row in enumerate(grid) for k in row if k in sizes}
    routes = {}
    for (a, b), flipped in forward.items():
        points = [(centres[a][0], centres[a][1] + sizes[a].height / 2)]
        for key in bends.get((a, b), ()):
            r = row_of[a] + 1 + bends[(a, b)].index(key)
            points += [(xs[key] - left, tops[r]), (xs[key] - left, tops[r] + heights[r])]
        points.append((centres[b][0], centres[b][1] - sizes[b].height / 2))
        routes[(b, a) if flipped else (a, b)] = tuple(points[::-1] if flipped else points)
    right = max((xs[k] + widths[k] / 2 for k in xs), default=0.0)
    return Layout(centres, routes, right - left, max(0.0, y - GAP_Y))


def _acyclic(nodes: Sequence[str], arrows: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bool]:
    """Arrows without cycles: those that close one are turned round (True). Iterative, for long chains."""
    out: dict[str, list[str]] = {}
    for a, b in arrows:
        out.setdefault(a, []).append(b)
    state: dict[str, int] = {}
    closing: set[tuple[str, str]] = set()
    for root in nodes:
        if root in state:
            continue
        state[root] = 1
        stack = [(root, iter(out.get(root, ())))]
        while stack:
            here, rest = stack[-1]
            there = next(rest, None)
            if there is None:
                state[here] = 2
                stack.pop()
            elif state.get(there) == 1:
                closing.add((here, there))
            elif there not in state:
                state[there] = 1
                stack.append((there, iter(out.get(there, ()))))
    forward = {a: False for a in arrows if a not in closing}
    for a, b in closing:
        forward.setdefault((b, a), True)
    return forward


def _rows(nodes: Sequence[str], arrows: Mapping[tuple[str, str], bool]) -> dict[str, int]:
    """Each box below all that it depends on; what depends on nothing just above its first reader."""
    into: dict[str, list[str]] = {n: [] for n in nodes}
    out: dict[str, list[str]] = {n: [] for n in nodes}
    for a, b in arrows:
        into[b].append(a)
        out[a].append(b)
    waiting = {n: len(into[n]) for n in nodes}
    ready = [n for n in nodes if not waiting[n]]
    row = dict.fromkeys(nodes, 0)
    for here in ready:
        for there in out[here]:
            row[there] = max(row[there], row[here] + 1)
            waiting[there] -= 1
            if not waiting[there]:
                ready.append(there)
    for n in nodes:
        if not into[n] and out[n]:
            row[n] = min(row[m] for m in out[n]) - 1
    lowest = min(row.values(), default=0)
    return {n: r - lowest for n, r in row.items()}


def _with_bends(
    nodes: Sequence[str], row_of: Mapping[str, int], arrows: Mapping[tuple[str, str], bool]
) -> tuple[list[list[str]], list[tuple[str, str]], dict[tuple[str, str], list[str]]]:
    grid: list[list[str]] = [[] for _ in range(max(row_of.values(), default=-1) + 1)]
    for n in nodes:
        grid[row_of[n]].append(n)
    links: list[tuple[str, str]] = []
    bends: dict[tuple[str, str], list[str]] = {}
    for a, b in arrows:
        chain = [a]
        for r in range(row_of[a] + 1, row_of[b]):
            key = f"\0{a}\0{b}\0{r}"  # no box has such a name
            grid[r].append(key)
            bends.setdefault((a, b), []).append(key)
            chain.append(key)
        chain.append(b)
        links += list(pairwise(chain))
    return grid, links, bends


def _ordered(grid: list[list[str]], links: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Rows sorted by the mean place of their neighbours, down and up in turn; the best order seen wins."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for a, b in links:
        above.setdefault(b, []).append(a)
        below.setdefault(a, []).append(b)
    best, fewest = [list(row) for row in grid], _crossings(grid, below)
    current = [list(row) for row in grid]
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        neighbours = above if down else below
        order = range(1, len(current)) if down else range(len(current) - 2, -1, -1)
        for r in order:
            beside = {k: i for i, k in enumerate(current[r - 1 if down else r + 1])}
            own = {k: float(i) for i, k in enumerate(current[r])}
            weight = {
                k: sum(beside[n] for n in neighbours[k]) / len(neighbours[k]) if neighbours.get(k) else own[k]
                for k in current[r]
            }
            current[r].sort(key=weight.__getitem__)
        crossed = _crossings(current, below)
        if crossed < fewest:
            best, fewest = [list(row) for row in current], crossed
    return best


def _crossings(grid: Sequence[Sequence[str]], below: Mapping[str, Sequence[str]]) -> int:
    total = 0
    for upper, lower in pairwise(grid):
        place = {k: i for i, k in enumerate(lower)}
        seen: list[int] = []
        for k in upper:
            ends = sorted(place[n] for n in below.get(k, ()))
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _horizontal(
    grid: Sequence[Sequence[str]], links: Sequence[tuple[str, str]], widths: Mapping[str, float]
) -> dict[str, float]:
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for a, b in links:
        above.setdefault(b, []).append(a)
        below.setdefault(a, []).append(b)
    xs: dict[str, float] = {}
    for row in grid:
        x = 0.0
        for k in row:
            xs[k] = x + widths[k] / 2
            x += widths[k] + GAP_X
        for k in row:
            xs[k] -= (x - GAP_X) / 2
    # Looking one way at a time makes chains straight in a few turns; both ways at once would take hundreds.
    for turn in range(9):
        down = turn % 2 == 0
        neighbours = above if down else below
        for row in grid if down else grid[::-1]:
            wanted = [_mean([xs[n] for n in neighbours[k]]) if k in neighbours else xs[k] for k in row]
            # Arrows that pass by should be straight, and a chain stays a chain: who hangs on one thread gives
            # way less.
            weights = [_weight(k, above, below) for k in row]
            xs |= dict(zip(row, _spread(wanted, [widths[k] for k in row], weights), strict=True))
    return xs


def _weight(key: str, above: Mapping[str, Sequence[str]], below: Mapping[str, Sequence[str]]) -> float:
    if "\0" in key:
        return 4.0
    return 1.0 + 0.5 * min(2, len(above.get(key, ())) + len(below.get(key, ())))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spread(wanted: Sequence[float], widths: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Places nearest to ``wanted`` (weighted squares) that keep the order and the gaps: isotonic
    regression."""
    offsets = [0.0]
    for a, b in pairwise(widths):
        offsets.append(offsets[-1] + a / 2 + GAP_X + b / 2)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, weight, offset in zip(wanted, weights, offsets, strict=False):
        mean, total, count = want - offset, weight, 1
        while blocks and blocks[-1][0] > mean:
            other, heavy, many = blocks.pop()
            mean = (mean * total + other * heavy) / (total + heavy)
            total, count = total + heavy, count + many
        blocks.append((mean, total, count))
    placed = [mean for mean, _, count in blocks for _ in range(count)]
    return [x + offset for x, offset in zip(placed, offsets, strict=False)]
