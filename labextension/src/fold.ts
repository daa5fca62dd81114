import type { ILineage, ILineageEdge, ILineageNode } from './documents';

/** An edge of the picture: `names` are the variables that flow along it, in the order in which they were met. */
export interface IFlow extends ILineageEdge {
  names: string[];
}

/** What is drawn: the document's nodes or some of them, and flows between them. */
export interface IDrawing {
  nodes: ILineageNode[];
  edges: IFlow[];
  focus: string[];
  /** Labels of cells that only import: they lead everywhere, say little, and are left out. */
  imports: string[];
}

/** From best to worst; what is folded into one arrow is as certain as its least certain part. */
const GRADES = ['exact', 'sampled', 'declared', 'assumed'];

/** Every node and edge of the document. */
export function unfolded(graph: ILineage): IDrawing {
  return {
    nodes: graph.nodes,
    edges: graph.edges.map(edge => ({ ...edge, names: [] })),
    focus: graph.focus,
    imports: []
  };
}

/**
 * The graph as a person wants to see it first: cells, files, runs and models, with variables as the names on arrows.
 */
export function folded(graph: ILineage): IDrawing {
  const focus = new Set(graph.focus);
  const nodes = new Map(graph.nodes.map(node => [node.id, node]));
  const imports = graph.nodes.filter(node => node.type === 'execution' && !focus.has(node.id) && onlyImports(node));
  const left = new Set(imports.map(node => node.id));
  const maker = new Map<string, string>();
  for (const edge of graph.edges) {
    if (edge.relation === 'was_generated_by') {
      maker.set(edge.source, edge.target);
    }
  }
  const isName = (id: string) => {
    const type = nodes.get(id)?.type;
    return (type === 'variable' || type === 'state') && !focus.has(id);
  };
  const kept = graph.nodes.filter(
    node =>
      !left.has(node.id) &&
      (!isName(node.id) || (node.type === 'variable' && node.deleted !== true && !maker.has(node.id)))
  );
  const shown = new Set(kept.map(node => node.id));
  const flows = new Map<string, IFlow>();
  const add = (edge: ILineageEdge, later: string | undefined, earlier: string | undefined, name: string | null) => {
    if (later === undefined || earlier === undefined || later === earlier || !shown.has(later) || !shown.has(earlier)) {
      return;
    }
    const key = `${later}\u0000${earlier}`;
    const flow = flows.get(key) ?? { ...edge, source: later, target: earlier, names: [] };
    flows.set(key, flow);
    if (name !== null && !flow.names.includes(name)) {
      flow.names.push(name);
    }
    if (GRADES.indexOf(edge.grade) > GRADES.indexOf(flow.grade)) {
      flow.grade = edge.grade;
    }
  };
  for (const edge of graph.edges) {
    const folds = isName(edge.target) && !shown.has(edge.target);
    const earlier = folds ? maker.get(edge.target) : edge.target;
    const name = folds ? (nodes.get(edge.target)?.label ?? null) : null;
    if (shown.has(edge.source)) {
      add(edge, edge.source, earlier, name);
    } else if (edge.relation === 'was_derived_from') {
      // A mutation: the cell that made it needs what was there before.
      add(edge, maker.get(edge.source), earlier, name);
    }
  }
  return { nodes: kept, edges: [...flows.values()], focus: graph.focus, imports: imports.map(node => node.label) };
}

function onlyImports(node: ILineageNode): boolean {
  const lines = codeLines(node);
  return lines.length > 0 && lines.every(line => /^(import|from)\s|^[\s)]/.test(line));
}

/** The line of a cell that says most: the first that is neither empty, a comment, a magic nor an import. */
export function headline(node: ILineageNode): string {
  const lines = codeLines(node).map(line => line.trim());
  return lines.find(line => !/^(import|from)\s/.test(line)) ?? lines[0] ?? '';
}

function codeLines(node: ILineageNode): string[] {
  const source = typeof node.source === 'string' ? node.source : '';
  return source.split('\n').filter(line => line.trim() !== '' && !/^\s*[#%!]/.test(line));
}
