"""The graph as a tree for a terminal: each cell once, later mentions point back."""

from __future__ import annotations

from .graph import LineageGraph
from .view import View, ViewEdge, ViewNode, view

_MAX_NAMES = 6


def to_text(graph: LineageGraph, *, width: int = 100) -> str:
    """What the target was made from and what was made from it, as two trees of lines of at most ``width``
    characters."""
    shown = view(graph)
    lines: list[str] = []
    up, down = _Tree(shown, "up", width), _Tree(shown, "down", width)
    ids = {n.id for n in shown.nodes}
    focus = [i for i in graph.focus if i in ids]
    # A run stands for its cells in what it was made from; what was made from it hangs on them.
    leading = [i for i in focus if not i.startswith("execution:")] or focus
    for title, tree, roots in (("made from", up, leading), ("used by", down, focus)):
        rooted = [root for root in roots if tree.steps.get(root)]
        if rooted:
            lines += ([""] if lines else []) + [f"{clean(graph.target)}: {title}"]
            for root in rooted:
                lines += tree.lines(root)
    if not lines:
        lines = [f"{clean(graph.target)}: nothing was made from it, and nothing that was recorded made it"]
        lines += [line for root in leading for line in up.lines(root)]
    if shown.imports:
        lines += ["", _cut(f"imports: {', '.join(clean(label) for label in shown.imports)}", width)]
    if graph.truncated:
        lines += ["", "There is more; this is the nearest part."]
    return "\n".join(lines)


class _Tree:
    """Walks arrows one way, and says "above" where it has been."""

    def __init__(self, shown: View, way: str, width: int) -> None:
        self.nodes = {n.id: n for n in shown.nodes}
        self.way = way
        self.width = width
        self.steps: dict[str, list[tuple[str, ViewEdge]]] = {}
        for edge in shown.edges:
            here, there = (edge.target, edge.source) if way == "up" else (edge.source, edge.target)
            self.steps.setdefault(here, []).append((there, edge))
        self.done: set[str] = set()

    def lines(self, root: str) -> list[str]:
        # A stack instead of recursion: a chain of thousands of cells is deeper than Python's limit.
        self.done.add(root)
        found = [_cut(_describe(self.nodes[root]), self.width)]
        stack = [("", there, edge, last) for there, edge, last in self._next(root)]
        while stack:
            prefix, here, edge, last = stack.pop()
            seen = here in self.done
            branch = "└─ " if last else "├─ "
            text = self._arrow(edge) + _describe(self.nodes[here], brief=seen)
            end = "  (see above)" if seen and here in self.steps else ""
            found.append(_cut(prefix + branch + text, self.width - len(end)) + end)
            if not seen:
                self.done.add(here)
                deeper = prefix + ("   " if last else "│  ")
                stack += [(deeper, there, arrow, final) for there, arrow, final in self._next(here)]
        return found

    def _next(self, here: str) -> list[tuple[str, ViewEdge, bool]]:
        steps = self.steps.get(here, [])
        listed = [(there, edge, i == len(steps) - 1) for i, (there, edge) in enumerate(steps)]
        return listed[::-1]  # the stack takes from the end

    def _arrow(self, edge: ViewEdge) -> str:
        names = names_text(edge.names)
        doubt = "?" if edge.grade == "assumed" else ""
        if not names:
            return ""
        return f"{names}{doubt} {'←' if self.way == 'up' else '→'} "


def names_text(names: tuple[str, ...], most: int = _MAX_NAMES) -> str:
    """``X_train, y_train``, cut after ``most`` names."""
    more = f" +{len(names) - most}" if len(names) > most else ""
    return clean(", ".join(names[:most]) + more)


def _describe(node: ViewNode, *, brief: bool = False) -> str:
    kind = {"run": "run ", "model": "model "}.get(node.kind, "")
    failed = " (failed)" if node.failed else ""
    subtitle = "" if brief or not node.subtitle else f"  {node.subtitle}"
    return clean(f"{kind}{node.title}{failed}{subtitle}")


def clean(text: str) -> str:
    """Text of others in one line, without control characters (they could rewrite a terminal)."""
    return "".join(c if c.isprintable() else " " for c in text)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: max(1, width - 1)] + "…"
