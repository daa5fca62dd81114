import type { ILineageNode, IRun } from './documents';
import { headline, type IDrawing, type IFlow } from './fold';
import { formatBytes, formatMetric, mainMetrics } from './format';

/** Nodes that are drawn; of a larger graph those nearest to the target. */
export const MAX_NODES = 120;

const TITLE_WIDTH = 7.2;
const SUBTITLE_WIDTH = 6.3;
const NAME_WIDTH = 5.9;
const MARGIN = 20;
const MARK = 16;
const MAX_TITLE = 20;
const MAX_SUBTITLE = 21;
const MAX_NAMES = 22;

export interface IPlacedNode {
  node: ILineageNode;
  title: string;
  /** A second line, or empty. */
  subtitle: string;
  /** Centre, pixels. */
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface IPlacedEdge {
  edge: IFlow;
  /** The variables on it, shortened; empty where there are none. */
  label: string;
  x: number;
  y: number;
  points: { x: number; y: number }[];
}

export interface IPicture {
  nodes: IPlacedNode[];
  edges: IPlacedEdge[];
  width: number;
  height: number;
}

/**
 * The part of a graph that is worth drawing: all of it, or the `limit` nodes nearest to `start`, by breadth.
 */
export function nearest(graph: IDrawing, start: string[], limit: number = MAX_NODES): IDrawing {
  if (graph.nodes.length <= limit) {
    return graph;
  }
  const neighbours = new Map<string, string[]>();
  for (const { source, target } of graph.edges) {
    neighbours.set(source, [...(neighbours.get(source) ?? []), target]);
    neighbours.set(target, [...(neighbours.get(target) ?? []), source]);
  }
  const known = new Set(graph.nodes.map(node => node.id));
  const kept = new Set(start.filter(id => known.has(id)));
  if (kept.size === 0 && graph.nodes.length > 0) {
    kept.add(graph.nodes[0].id);
  }
  const queue = [...kept];
  for (let at = 0; at < queue.length && kept.size < limit; at++) {
    for (const id of neighbours.get(queue[at]) ?? []) {
      if (!kept.has(id) && known.has(id) && kept.size < limit) {
        kept.add(id);
        queue.push(id);
      }
    }
  }
  return {
    ...graph,
    nodes: graph.nodes.filter(node => kept.has(node.id)),
    edges: graph.edges.filter(edge => kept.has(edge.source) && kept.has(edge.target))
  };
}

/** PROV's edges point back in time (an execution *used* a file); a picture is read forward. */
export function forward(edge: IFlow): { from: string; to: string } {
  return { from: edge.target, to: edge.source };
}

/** Whether a node has a small mark before its title. */
export function hasMark(node: ILineageNode): boolean {
  return node.type !== 'execution' && node.type !== 'variable';
}

/** Title and second line of a node, short enough to be drawn. */
export function nodeText(node: ILineageNode): { title: string; subtitle: string } {
  const label = node.label.split('\n', 1)[0];
  switch (node.type) {
    case 'execution':
      return { title: cut(label, MAX_TITLE), subtitle: cut(headline(node), MAX_SUBTITLE) };
    case 'file': {
      // The end of a path says more than its beginning.
      const title = label.length > MAX_TITLE ? `…${label.slice(1 - MAX_TITLE)}` : label;
      const digest = typeof node.digest === 'string' ? node.digest.replace(/^(\w+:.{8}).*$/, '$1') : '';
      const size = typeof node.size === 'number' ? formatBytes(node.size) : '';
      return { title, subtitle: [digest, size].filter(Boolean).join(' · ') };
    }
    case 'run': {
      const metrics = typeof node.metrics === 'object' && node.metrics !== null ? node.metrics : {};
      const main = mainMetrics({ metrics } as Pick<IRun, 'metrics'>, 2);
      const subtitle = main.map(([key, value]) => `${key} ${formatMetric(value)}`).join(' · ');
      return { title: cut(label, MAX_TITLE), subtitle: cut(subtitle, MAX_SUBTITLE) };
    }
    case 'model': {
      const name = typeof node.name === 'string' ? node.name : label;
      const kind = typeof node.class === 'string' ? (node.class.split('.').pop() ?? '') : '';
      return { title: cut(name, MAX_TITLE), subtitle: cut(kind, MAX_SUBTITLE) };
    }
    default:
      return { title: cut(label, MAX_TITLE), subtitle: '' };
  }
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

function edgeLabel(edge: IFlow): string {
  let label = '';
  for (const [index, name] of edge.names.entries()) {
    const longer = label ? `${label}, ${name}` : name;
    if (longer.length > MAX_NAMES) {
      return label ? `${label} +${edge.names.length - index}` : cut(name, MAX_NAMES);
    }
    label = longer;
  }
  return label;
}

/** Places every node in layers, causes above effects. dagre is loaded on first use and not with the page. */
export async function layout(graph: IDrawing): Promise<IPicture> {
  const dagre = await import('@dagrejs/dagre');
  const g = new dagre.graphlib.Graph({ multigraph: true });
  g.setGraph({ rankdir: 'TB', nodesep: 10, ranksep: 22, edgesep: 8, marginx: 8, marginy: 8 });
  g.setDefaultEdgeLabel(() => ({}));
  const texts = new Map(graph.nodes.map(node => [node.id, nodeText(node)]));
  for (const node of graph.nodes) {
    const { title, subtitle } = texts.get(node.id)!;
    const text = Math.max(title.length * TITLE_WIDTH, subtitle.length * SUBTITLE_WIDTH);
    const width = Math.max(52, Math.ceil(text) + MARGIN + (hasMark(node) ? MARK : 0));
    g.setNode(node.id, { width, height: subtitle ? 42 : 28 });
  }
  const labels = graph.edges.map(edgeLabel);
  graph.edges.forEach((edge, index) => {
    const { from, to } = forward(edge);
    if (g.hasNode(from) && g.hasNode(to)) {
      const size = labels[index] ? { width: labels[index].length * NAME_WIDTH, height: 14, labelpos: 'c' } : {};
      g.setEdge(from, to, size, String(index));
    }
  });
  dagre.layout(g);
  const nodes = graph.nodes.map(node => {
    const { x, y, width, height } = g.node(node.id);
    return { node, ...texts.get(node.id)!, x, y, width, height };
  });
  const edges = graph.edges.flatMap((edge, index) => {
    const { from, to } = forward(edge);
    const placed = g.hasEdge(from, to, String(index)) ? g.edge(from, to, String(index)) : undefined;
    return placed ? [{ edge, label: labels[index], x: placed.x ?? 0, y: placed.y ?? 0, points: placed.points }] : [];
  });
  const size = g.graph();
  return { nodes, edges, width: Math.ceil(size.width ?? 0), height: Math.ceil(size.height ?? 0) };
}

/** A smooth line through the points, as an SVG path. */
export function curve(points: { x: number; y: number }[]): string {
  if (points.length === 0) {
    return '';
  }
  const at = (p: { x: number; y: number }) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`;
  const [first, ...rest] = points;
  let path = `M${at(first)}`;
  for (let i = 0; i < rest.length - 1; i++) {
    const middle = { x: (rest[i].x + rest[i + 1].x) / 2, y: (rest[i].y + rest[i + 1].y) / 2 };
    path += `Q${at(rest[i])} ${at(i === rest.length - 2 ? rest[i + 1] : middle)}`;
  }
  return rest.length === 1 ? `${path}L${at(rest[0])}` : path;
}
