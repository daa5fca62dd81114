"""The graph as an SVG picture that needs nothing else.

Colours come from the theme of the page (JupyterLab's and VS Code's CSS variables), else from the reader's
light or dark preference. Every text is escaped; there are no scripts, links or ids in it, so that many
pictures fit in one page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise

from .graph import LineageGraph
from .layout import GAP_Y, Layout, Point, Size, layout
from .text import clean, names_text
from .view import View, ViewEdge, ViewNode, view

LIMIT = 120
"""Boxes in one picture: the nearest to the target."""
_MARGIN = 14.0
_BOX = Size(236, 46)
_PILL_HEIGHT = 42
_MONO = 6.35
"""Width of a character of the code font at 10.5 px."""
_TOOLTIP = 1500

_LIGHT = {
    "bg": "#ffffff", "box": "#f6f8fa", "ink": "#1f2328", "soft": "#656d76", "line": "#afb8c1",
    "execution": "#2f6fd0", "file": "#1a7f37", "variable": "#8250df", "state": "#8250df", "run": "#bc4c00",
    "model": "#bf3989", "bad": "#cf222e",
}  # fmt: skip
_DARK = {
    "bg": "#0d1117", "box": "#161b22", "ink": "#e6edf3", "soft": "#8d96a0", "line": "#4b535d",
    "execution": "#6cb0ff", "file": "#56d364", "variable": "#c297ff", "state": "#c297ff", "run": "#ffa657",
    "model": "#ff8bcb", "bad": "#ff7b72",
}  # fmt: skip
_THEME = {
    "bg": "--jp-layout-color1", "box": "--jp-layout-color2", "ink": "--jp-content-font-color1",
    "soft": "--jp-content-font-color2", "line": "--jp-border-color0",
}  # fmt: skip
_VSCODE = {
    "bg": "--vscode-editor-background", "ink": "--vscode-editor-foreground",
    "box": "--vscode-editorWidget-background",
    "soft": "--vscode-descriptionForeground", "line": "--vscode-editorIndentGuide-activeBackground",
}  # fmt: skip


def to_html(graph: LineageGraph) -> str:
    """The picture with its footnotes, for a notebook's output."""
    shown = view(graph, limit=LIMIT)
    notes = [f"imports: {', '.join(shown.imports)}"] if shown.imports else []
    if shown.hidden:
        notes.append(f"{shown.hidden} more are not drawn; the text and JSON forms have them")
    if graph.truncated:
        notes.append("there is more than was asked for")
    small = f'<div style="font-size:11px;opacity:.75">{escape(clean(" · ".join(notes)))}</div>' if notes else ""
    return f'<div style="overflow:auto;max-width:100%">{_svg(graph, shown)}{small}</div>'


def to_svg(graph: LineageGraph) -> str:
    """The picture alone, as a document."""
    return _svg(graph, view(graph, limit=LIMIT))


def _svg(graph: LineageGraph, shown: View) -> str:
    placed = layout({n.id: _size(n) for n in shown.nodes}, [(e.source, e.target) for e in shown.edges])
    width, height = placed.width + 2 * _MARGIN, placed.height + 2 * _MARGIN
    name = escape(clean(f"Lineage of {graph.target}"))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="mlops-lineage" role="img" aria-label="{name}" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        f"<title>{name}</title><style>{_style()}</style>",
        f'<rect class="ml-bg" width="100%" height="100%" rx="8" fill="{_LIGHT["bg"]}"/>',
        f'<g transform="translate({_MARGIN:.0f},{_MARGIN:.0f})">',
        *(_arrow(edge, placed.routes[(edge.source, edge.target)]) for edge in shown.edges if _drawn(edge, placed)),
        *(_box(node, placed.centres[node.id]) for node in shown.nodes),
        *_labels(shown, placed),
        "</g></svg>",
    ]
    return "".join(parts)


def _drawn(edge: ViewEdge, placed: Layout) -> bool:
    return (edge.source, edge.target) in placed.routes


def _size(node: ViewNode) -> Size:
    if node.kind in ("execution", "file"):
        return _BOX
    text = max(len(node.title) * 6.8 + 44, len(node.subtitle) * 6.2)
    return Size(max(110.0, min(text + 40, _BOX.width)), _PILL_HEIGHT)


def _box(node: ViewNode, centre: Point) -> str:
    size = _size(node)
    x, y = centre[0] - size.width / 2, centre[1] - size.height / 2
    colour = "bad" if node.failed else node.kind
    radius = {"execution": 6, "file": 2}.get(node.kind, size.height / 2)
    outline, width = (_LIGHT[colour], 2.4) if node.focus or node.failed else (_LIGHT["line"], 1.0)
    mark = "ml-focus" if node.focus or node.failed else "ml-line"
    inset = 16 if node.kind in ("execution", "file") else 20
    room = size.width - 2 * inset + 4
    # The end of a path says more than its beginning.
    fit = _fit_end if node.kind == "file" else _fit
    title = fit(node.title, room - (34 if node.kind not in ("execution", "variable") else 0), 6.6)
    # Code is set in the code font; facts about files, runs and models in the text font, which is narrower.
    code = node.kind in ("execution", "variable", "state")
    subtitle = _fit(node.subtitle, room, _MONO if code else 5.9)
    first = y + size.height / 2 + (4 if not subtitle else -5)
    second = y + size.height / 2 + 12
    family = ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"' if code else ""
    parts = [
        f"<g><title>{escape(_tooltip(node))}</title>",
        f'<rect class="ml-box {mark}-{colour}" x="{x:.1f}" y="{y:.1f}" width="{size.width:.1f}" ',
        f'height="{size.height}" rx="{radius:.1f}" fill="{_LIGHT["box"]}" stroke="{outline}" ',
        f'stroke-width="{width}"/>',
    ]
    if node.kind in ("execution", "file"):
        parts.append(
            f'<rect class="ml-fill-{colour}" fill="{_LIGHT[colour]}" x="{x + 6:.1f}" y="{y + 8:.1f}" '
            f'width="3" height="{size.height - 16:.1f}" rx="1.5"/>'
        )
    parts.append(_text(title, colour, x + inset, first, 'font-size="12" font-weight="600"'))
    if node.kind not in ("execution", "variable"):
        right = x + size.width - inset + 4
        parts.append(_text(node.kind, colour, right, first, 'font-size="9.5" text-anchor="end"'))
    parts.append(_text(subtitle, "ink", x + inset, second, f'font-size="10.5"{family}'))
    return "".join([*parts, "</g>"])


def _text(text: str, colour: str, x: float, y: float, attributes: str) -> str:
    return (
        f'<text class="ml-{colour}" fill="{_LIGHT[colour]}" x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
    )


def _tooltip(node: ViewNode) -> str:
    lines = [clean(line) for line in node.tooltip.splitlines()]
    text = "\n".join(lines)
    return text if len(text) <= _TOOLTIP else text[:_TOOLTIP] + "…"


def _arrow(edge: ViewEdge, points: Sequence[Point]) -> str:
    dashed = ' stroke-dasharray="4 4"' if edge.grade == "assumed" else ""
    tip_x, tip_y = points[-1]
    up = points[-2][1] > tip_y
    back = 7 if not up else -7
    path = _path([*points[:-1], (tip_x, tip_y - back)])
    return (
        f'<g><path class="ml-arrow" d="{path}" fill="none" stroke="{_LIGHT["line"]}" '
        f'stroke-width="1.4"{dashed}/>'
        f'<path class="ml-tip" fill="{_LIGHT["line"]}" '
        f'd="M{tip_x:.1f} {tip_y:.1f}l-4 -{back}h8z"/></g>'.replace("--", "")
    )


def _path(points: Sequence[Point]) -> str:
    (x, y), *rest = points
    parts = [f"M{x:.1f} {y:.1f}"]
    for nx, ny in rest:
        half = (y + ny) / 2
        parts.append(
            f"V{ny:.1f}" if abs(nx - x) < 0.5 else f"C{x:.1f} {half:.1f} {nx:.1f} {half:.1f} {nx:.1f} {ny:.1f}"
        )
        x, y = nx, ny
    return "".join(parts)


def _labels(shown: View, placed: Layout) -> Iterable[str]:
    taken: list[tuple[float, float, float, float]] = []
    for centre, node in ((placed.centres[n.id], n) for n in shown.nodes):
        size = _size(node)
        taken.append((centre[0] - size.width / 2, centre[1] - size.height / 2, size.width, size.height))
    for edge in shown.edges:
        text = names_text(edge.names, 3)
        if not text or not _drawn(edge, placed):
            continue
        text = text if len(text) <= 30 else text[:29] + "…"
        width = len(text) * 5.7 + 6
        x, y = _free(placed.routes[(edge.source, edge.target)], width, taken)
        taken.append((x - width / 2, y - 7, width, 14))
        yield (
            f'<text class="ml-soft" fill="{_LIGHT["soft"]}" stroke="{_LIGHT["bg"]}" stroke-width="3.5" '
            f'paint-order="stroke" stroke-linejoin="round" x="{x:.1f}" y="{y + 3.5:.1f}" font-size="10.5" '
            f'text-anchor="middle"><title>{escape(clean(", ".join(edge.names)))}</title>{escape(text)}</text>'
        )


def _free(points: Sequence[Point], width: float, taken: Sequence[tuple[float, float, float, float]]) -> Point:
    """A place on the arrow where a label of ``width`` covers nothing; else the middle of its last stretch."""
    gaps = [(a, b) for a, b in pairwise(points) if abs(b[1] - a[1]) <= GAP_Y + 1][::-1]
    gaps = gaps or [(points[-2], points[-1])]
    for a, b in gaps:
        for t in (0.5, 0.36, 0.64, 0.24, 0.76):
            eased = t * t * (3 - 2 * t)  # where the curve is at this height
            x, y = a[0] + (b[0] - a[0]) * eased, a[1] + (b[1] - a[1]) * t
            if all(
                x + width / 2 < left or x - width / 2 > left + w or y + 7 < top or y - 7 > top + h
                for left, top, w, h in taken
            ):
                return x, y
    (ax, ay), (bx, by) = gaps[0]
    return (ax + bx) / 2, (ay + by) / 2


def _fit(text: str, room: float, character: float) -> str:
    text = clean(text)
    most = max(1, int(room / character))
    return text if len(text) <= most else text[: most - 1] + "…"


def _fit_end(text: str, room: float, character: float) -> str:
    return _fit(text[::-1], room, character)[::-1]


def _style() -> str:
    def variables(colours: Mapping[str, str]) -> str:
        return "".join(
            f"--ml-{name}:{f'var({_THEME[name]},var({_VSCODE[name]},{value}))' if name in _THEME else value};"
            for name, value in colours.items()
        )

    kinds = [name for name in _LIGHT if name not in _THEME]
    rules = [
        f".mlops-lineage{{{variables(_LIGHT)}}}",
        f"@media (prefers-color-scheme:dark){{.mlops-lineage{{{variables(_DARK)}}}}}",
        # A theme that was chosen in the page counts for more than the system's preference.
        f"[data-jp-theme-light=true] .mlops-lineage{{{variables(_LIGHT)}}}",
        f"[data-jp-theme-light=false] .mlops-lineage{{{variables(_DARK)}}}",
        ".ml-bg{fill:var(--ml-bg)}.ml-box{fill:var(--ml-box)}.ml-ink{fill:var(--ml-ink)}",
        ".ml-soft{fill:var(--ml-soft);stroke:var(--ml-bg)}",
        ".ml-arrow{stroke:var(--ml-line)}.ml-tip{fill:var(--ml-line)}",
        *(f".ml-{k},.ml-fill-{k}{{fill:var(--ml-{k})}}.ml-line-{k}{{stroke:var(--ml-line)}}" for k in kinds),
        *(f".ml-focus-{k}{{stroke:var(--ml-{k})}}" for k in kinds),
    ]
    return "".join(rules)
