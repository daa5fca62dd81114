import type { ILineage, ILineageEdge, ILineageNode, LineageNodeType } from './documents';

/** Nodes that are drawn; of a larger graph those nearest to the target. */
export const MAX_NODES = 120;

const FONT = 7.1;
const LINE_HEIGHT = 34;
const MAX_LABEL = 26;

export interface IPlacedNode {
  node: ILineageNode;
  /** What is written in the node. */
  text: string;
  /** Centre, pixels. */
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface IPlacedEdge {
  edge: ILineageEdge;
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
export function nearest(graph: ILineage, start: string[], limit: number = MAX_NODES): ILineage {
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

/**
 * Whether the edge's arrow is drawn from `target` to `source`: PROV's edges point back in time (an execution *used* a
 * file), and a picture is read forward.
 */
export function forward(edge: ILineageEdge): { from: string; to: string } {
  return { from: edge.target, to: edge.source };
}

/** What people read in a node: short, on one line. */
export function nodeText(node: ILineageNode): string {
  const label = node.label.split('\n', 1)[0];
  if (node.type === 'file' && label.length > MAX_LABEL) {
    // The end of a path says more than its beginning.
    return `…${label.slice(-(MAX_LABEL - 1))}`;
  }
  return label.length > MAX_LABEL ? `${label.slice(0, MAX_LABEL - 1)}…` : label;
}

export function nodeWidth(text: string, type: LineageNodeType): number {
  const icon = type === 'execution' || type === 'variable' ? 0 : 14;
  return Math.max(44, Math.ceil(text.length * FONT) + 22 + icon);
}

/** Places every node in layers, causes above effects. dagre is loaded on first use and not with the page. */
export async function layout(graph: ILineage): Promise<IPicture> {
  const dagre = await import('@dagrejs/dagre');
  const g = new dagre.graphlib.Graph({ multigraph: true });
  g.setGraph({ rankdir: 'TB', nodesep: 14, ranksep: 30, marginx: 10, marginy: 10 });
  g.setDefaultEdgeLabel(() => ({}));
  for (const node of graph.nodes) {
    g.setNode(node.id, { width: nodeWidth(nodeText(node), node.type), height: LINE_HEIGHT });
  }
  graph.edges.forEach((edge, index) => {
    const { from, to } = forward(edge);
    if (g.hasNode(from) && g.hasNode(to)) {
      g.setEdge(from, to, {}, String(index));
    }
  });
  dagre.layout(g);
  const nodes = graph.nodes.map(node => {
    const { x, y, width, height } = g.node(node.id);
    return { node, text: nodeText(node), x, y, width, height };
  });
  const edges = graph.edges.flatMap((edge, index) => {
    const { from, to } = forward(edge);
    const placed = g.hasEdge(from, to, String(index)) ? g.edge(from, to, String(index)) : undefined;
    return placed ? [{ edge, points: placed.points }] : [];
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
