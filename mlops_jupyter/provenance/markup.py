"""The graph as Mermaid, as Graphviz DOT and as Markdown. Every text in it is escaped."""

from __future__ import annotations

from .graph import LineageGraph
from .text import clean, names_text
from .view import ViewNode, view

_LIMIT = 400
"""Boxes in a drawing: beyond it neither tool draws something that a person can read."""
_LONGEST = 60
_SAFE = frozenset(" .,_-+=/()[]:'")

_MERMAID_SHAPES = {
    "execution": ('["', '"]'),
    "file": ('[("', '")]'),
    "variable": ('(["', '"])'),
    "state": ('(["', '"])'),
    "run": ('{{"', '"}}'),
    "model": ('[["', '"]]'),
}
_DOT_SHAPES = {
    "execution": "box",
    "file": "cylinder",
    "variable": "ellipse",
    "state": "ellipse",
    "run": "hexagon",
    "model": "component",
}


def to_mermaid(graph: LineageGraph) -> str:
    """A Mermaid flowchart, top down, with dashed arrows where a dependency is only assumed."""
    shown = view(graph, limit=_LIMIT)
    ids = {n.id: f"n{i}" for i, n in enumerate(shown.nodes)}
    lines = ["flowchart TD"]
    for node in shown.nodes:
        left, right = _MERMAID_SHAPES[node.kind]
        label = "<br/>".join(_mermaid(part) for part in _parts(node))
        lines.append(f"    {ids[node.id]}{left}{label}{right}")
    for edge in shown.edges:
        line = "-.->" if edge.grade == "assumed" else "-->"
        names = _mermaid(names_text(edge.names, 4))
        label = f'|"{names}"|' if names else ""
        lines.append(f"    {ids[edge.source]} {line}{label} {ids[edge.target]}")
    marked = [ids[n.id] for n in shown.nodes if n.focus]
    if marked:
        lines += ["    classDef target stroke-width:3px", f"    class {','.join(marked)} target"]
    return "\n".join(lines)


def to_dot(graph: LineageGraph) -> str:
    """A Graphviz digraph, top down, with dashed arrows where a dependency is only assumed."""
    shown = view(graph, limit=_LIMIT)
    ids = {n.id: f"n{i}" for i, n in enumerate(shown.nodes)}
    lines = [
        "digraph lineage {",
        "  rankdir=TB;",
        '  node [fontname="Helvetica", fontsize=11, style=rounded];',
        '  edge [fontname="Helvetica", fontsize=9, color="#777777"];',
    ]
    for node in shown.nodes:
        label = "\\n".join(_dot(part) for part in _parts(node))
        bold = ", penwidth=2.5" if node.focus else ""
        lines.append(f'  {ids[node.id]} [label="{label}", shape={_DOT_SHAPES[node.kind]}{bold}];')
    for edge in shown.edges:
        names = _dot(names_text(edge.names, 4))
        attributes = [f'label="{names}"'] if names else []
        if edge.grade == "assumed":
            attributes.append("style=dashed")
        tail = f" [{', '.join(attributes)}]" if attributes else ""
        lines.append(f"  {ids[edge.source]} -> {ids[edge.target]}{tail};")
    return "\n".join([*lines, "}"])


def to_markdown(graph: LineageGraph) -> str:
    """The Mermaid drawing in a fenced block, for viewers that show Markdown."""
    return f"```mermaid\n{to_mermaid(graph)}\n```"


def _parts(node: ViewNode) -> list[str]:
    return [
        text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…" for text in (node.title, node.subtitle) if text
    ]


def _mermaid(text: str) -> str:
    # Mermaid's own entity form; anything that could end a label, a fence or start HTML becomes one.
    return "".join(c if c.isalnum() or c in _SAFE else f"#{ord(c)};" for c in clean(text))


def _dot(text: str) -> str:
    return clean(text).replace("\\", "\\\\").replace('"', '\\"')
