import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { ILineage, ILineageEdge, ILineageNode, LineageNodeType } from '../documents';
import { folded, type IDrawing, unfolded } from '../fold';
import { curve, forward, hasMark, type IPicture, type IPlacedNode, layout, MAX_NODES, nearest } from '../graph';

/** Smaller than this nothing can be read: a wider picture is scrolled. */
const MIN_FIT = 0.7;
const ZOOMS = [0.5, 0.65, 0.8, 1, 1.25, 1.6, 2];

interface ILineageProps {
  graph: ILineage;
  trans: TranslationBundle;
}

/** Cells, variables and files, causes above effects: a picture to scroll, zoom and walk by keyboard, and the same in words. */
export function LineageView({ graph, trans }: ILineageProps): JSX.Element {
  const [detailed, setDetailed] = React.useState(false);
  const whole = React.useMemo(() => (detailed ? unfolded(graph) : folded(graph)), [graph, detailed]);
  const drawn = React.useMemo(() => nearest(whole, whole.focus), [whole]);
  const { focus } = drawn;
  const picture = usePicture(drawn);
  const [zoom, setZoom] = React.useState<number | null>(null);
  const [selected, setSelected] = React.useState<string | null>(null);
  const [width, frame] = useWidth();
  const fit = picture && width > 0 ? Math.max(MIN_FIT, Math.min(1, (width - 4) / picture.width)) : 1;
  const scale = zoom ?? fit;
  const step = (by: 1 | -1) => {
    const next = by > 0 ? ZOOMS.find(z => z > scale + 0.01) : [...ZOOMS].reverse().find(z => z < scale - 0.01);
    setZoom(next ?? scale);
  };
  React.useEffect(() => {
    // A picture that does not fit begins at what it is about.
    const target = picture?.nodes.find(placed => focus.includes(placed.node.id));
    if (target && frame.current) {
      frame.current.scrollLeft = target.x * scale - frame.current.clientWidth / 2;
    }
  }, [picture]);
  const chosen = drawn.nodes.find(node => node.id === selected) ?? null;
  return (
    <div className="jp-mlops-Lineage">
      <div className="jp-mlops-Lineage-tools">
        <Legend nodes={drawn.nodes} trans={trans} />
        <span className="jp-mlops-spacer" />
        <button
          type="button"
          aria-pressed={detailed}
          title={trans.__('Draw every version of every variable')}
          onClick={() => setDetailed(!detailed)}
        >
          {trans.__('Variables')}
        </button>
        <button type="button" title={trans.__('Zoom out')} aria-label={trans.__('Zoom out')} onClick={() => step(-1)}>
          −
        </button>
        <button
          type="button"
          title={trans.__('Fit the width')}
          aria-label={trans.__('Fit the width')}
          onClick={() => setZoom(null)}
        >
          {Math.round(scale * 100)}%
        </button>
        <button type="button" title={trans.__('Zoom in')} aria-label={trans.__('Zoom in')} onClick={() => step(1)}>
          +
        </button>
      </div>
      {drawn.nodes.length < whole.nodes.length ? (
        <p className="jp-mlops-note">
          {trans.__('The %1 of %2 nodes that are nearest.', MAX_NODES, whole.nodes.length)}
        </p>
      ) : null}
      <div className="jp-mlops-Lineage-frame" ref={frame}>
        {picture ? (
          <Picture
            picture={picture}
            focus={focus}
            scale={scale}
            selected={selected}
            onSelect={setSelected}
            trans={trans}
          />
        ) : (
          <p className="jp-mlops-note">{trans.__('Drawing…')}</p>
        )}
      </div>
      {drawn.imports.length > 0 ? (
        <p className="jp-mlops-note">{trans.__('Not drawn, only imports: %1', drawn.imports.join(', '))}</p>
      ) : null}
      {chosen ? <NodeFacts node={chosen} trans={trans} /> : null}
      <details className="jp-mlops-Lineage-words">
        <summary>{trans.__('In words')}</summary>
        <Words graph={drawn} trans={trans} />
      </details>
    </div>
  );
}

function usePicture(graph: IDrawing): IPicture | null {
  const [picture, setPicture] = React.useState<IPicture | null>(null);
  React.useEffect(() => {
    let current = true;
    layout(graph)
      .then(result => current && setPicture(result))
      .catch(error => console.warn('mlops-jupyter: the lineage could not be drawn.', error));
    return () => {
      current = false;
    };
  }, [graph]);
  return picture;
}

/** The width of an element, as it changes. */
function useWidth(): [number, React.RefObject<HTMLDivElement>] {
  const ref = React.useRef<HTMLDivElement>(null);
  const [width, setWidth] = React.useState(0);
  React.useEffect(() => {
    const node = ref.current;
    if (node === null) {
      return undefined;
    }
    const observer = new ResizeObserver(() => setWidth(node.clientWidth));
    observer.observe(node);
    setWidth(node.clientWidth);
    return () => observer.disconnect();
  }, []);
  return [width, ref];
}

interface IPictureProps {
  picture: IPicture;
  focus: string[];
  scale: number;
  selected: string | null;
  onSelect: (id: string | null) => void;
  trans: TranslationBundle;
}

function Picture({ picture, focus, scale, selected, onSelect, trans }: IPictureProps): JSX.Element {
  const marker = React.useId().replace(/:/g, '');
  const svg = React.useRef<SVGSVGElement>(null);
  const near = React.useMemo(() => {
    const ids = new Set<string>();
    for (const { edge } of picture.edges) {
      if (edge.source === selected || edge.target === selected) {
        ids.add(edge.source).add(edge.target);
      }
    }
    return ids;
  }, [picture, selected]);
  const tabStop = selected ?? focus.find(id => picture.nodes.some(n => n.node.id === id)) ?? picture.nodes[0]?.node.id;
  const move = (from: IPlacedNode, key: string) => {
    const next = neighbour(picture, from, key);
    if (next !== null) {
      onSelect(next);
      svg.current?.querySelector<SVGGElement>(`[data-id="${CSS.escape(next)}"]`)?.focus();
    }
    return next !== null;
  };
  return (
    <svg
      ref={svg}
      className="jp-mlops-Graph"
      width={picture.width * scale}
      height={picture.height * scale}
      viewBox={`0 0 ${picture.width} ${picture.height}`}
      role="group"
      aria-label={trans.__('Lineage graph: arrow keys walk along it')}
      data-chosen={selected !== null}
    >
      <defs>
        <marker id={marker} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
          <path className="jp-mlops-Graph-arrow" d="M0 0.8 7 4 0 7.2z" />
        </marker>
      </defs>
      <g>
        {picture.edges.map(({ edge, points }, index) => (
          <path
            key={index}
            className="jp-mlops-Graph-edge"
            d={curve(points)}
            markerEnd={`url(#${marker})`}
            data-grade={edge.grade}
            data-near={edge.source === selected || edge.target === selected}
          >
            <title>{edgeText(edge, trans)}</title>
          </path>
        ))}
        {picture.edges.map(({ edge, label, x, y }, index) =>
          label ? (
            <text
              key={index}
              className="jp-mlops-Graph-name"
              x={x}
              y={y}
              dominantBaseline="central"
              textAnchor="middle"
              data-near={edge.source === selected || edge.target === selected}
            >
              {label}
              <title>{edge.names.join(', ').slice(0, 500)}</title>
            </text>
          ) : null
        )}
      </g>
      {picture.nodes.map(placed => (
        <Node
          key={placed.node.id}
          placed={placed}
          focused={focus.includes(placed.node.id)}
          selected={placed.node.id === selected}
          near={near.has(placed.node.id)}
          tabStop={placed.node.id === tabStop}
          onSelect={onSelect}
          onMove={move}
          trans={trans}
        />
      ))}
    </svg>
  );
}

interface INodeProps {
  placed: IPlacedNode;
  focused: boolean;
  selected: boolean;
  near: boolean;
  tabStop: boolean;
  onSelect: (id: string | null) => void;
  onMove: (from: IPlacedNode, key: string) => boolean;
  trans: TranslationBundle;
}

function Node(props: INodeProps): JSX.Element {
  const { placed, focused, selected, near, tabStop, onSelect, onMove, trans } = props;
  const { node, title, subtitle, x, y, width, height } = placed;
  const left = 11 + (hasMark(node) ? 16 : 0);
  const toggle = () => onSelect(selected ? null : node.id);
  return (
    <g
      className="jp-mlops-Graph-node"
      transform={`translate(${x - width / 2} ${y - height / 2})`}
      data-id={node.id}
      data-type={node.type}
      data-focused={focused}
      data-near={near}
      data-status={typeof node.status === 'string' ? node.status : undefined}
      role="button"
      tabIndex={tabStop ? 0 : -1}
      aria-pressed={selected}
      aria-label={`${typeName(node.type, trans)} ${node.label.slice(0, 200)}`}
      onClick={toggle}
      onKeyDown={event => {
        if (event.key === 'Enter' || event.key === ' ') {
          toggle();
        } else if (!onMove(placed, event.key)) {
          return;
        }
        event.preventDefault();
        event.stopPropagation();
      }}
    >
      <title>{node.label.slice(0, 500)}</title>
      <Shape type={node.type} width={width} height={height} />
      <text className="jp-mlops-Graph-title" x={left} y={subtitle ? 15 : height / 2} dominantBaseline="central">
        {title}
      </text>
      {subtitle ? (
        <text className="jp-mlops-Graph-subtitle" x={left} y={30} dominantBaseline="central">
          {subtitle}
        </text>
      ) : null}
    </g>
  );
}

/** A shape for each kind, so that they are told apart without colour. */
function Shape({ type, width, height }: { type: LineageNodeType; width: number; height: number }): JSX.Element {
  switch (type) {
    case 'file':
      return (
        <>
          <path className="jp-mlops-Graph-shape" d={`M0.5 0.5H${width - 10}L${width - 0.5} 10V${height - 0.5}H0.5z`} />
          <path className="jp-mlops-Graph-fold" d={`M${width - 10} 0.5V10H${width - 0.5}`} />
          <path
            className="jp-mlops-Graph-mark"
            transform={`translate(0 ${height / 2 - 17})`}
            d="M9 13.5h9M9 17h9M9 20.5h6"
          />
        </>
      );
    case 'variable':
      return (
        <rect
          className="jp-mlops-Graph-shape"
          x={0.5}
          y={3}
          width={width - 1}
          height={height - 6}
          rx={(height - 6) / 2}
        />
      );
    case 'state':
      return (
        <>
          <rect className="jp-mlops-Graph-shape" x={0.5} y={3} width={width - 1} height={height - 6} rx={4} />
          <path
            className="jp-mlops-Graph-mark"
            transform={`translate(0 ${height / 2 - 17})`}
            d="M9 17a4 4 0 1 1 4 4M13 14v3l2 1.5"
          />
        </>
      );
    case 'model':
      return (
        <>
          <path
            className="jp-mlops-Graph-shape"
            d={`M9 1H${width - 9}L${width - 0.5} ${height / 2} ${width - 9} ${height - 1}H9L0.5 ${height / 2}z`}
          />
          <path
            className="jp-mlops-Graph-mark"
            transform={`translate(0 ${height / 2 - 17})`}
            d="M14 12l4.5 2.6v4.8L14 22l-4.5-2.6v-4.8zM9.5 14.6l4.5 2.4 4.5-2.4M14 17v5"
          />
        </>
      );
    case 'run':
      return (
        <>
          <rect className="jp-mlops-Graph-shape" x={0.5} y={0.5} width={width - 1} height={height - 1} rx={8} />
          <path className="jp-mlops-Graph-mark" transform={`translate(0 ${height / 2 - 17})`} d="M9.5 17l3 3 6-6.5" />
        </>
      );
    default:
      return <rect className="jp-mlops-Graph-shape" x={0.5} y={0.5} width={width - 1} height={height - 1} rx={5} />;
  }
}

/** Up: a cause, down: an effect, left and right: beside it. The nearest one; null for other keys or at the rim. */
function neighbour(picture: IPicture, from: IPlacedNode, key: string): string | null {
  const places = new Map(picture.nodes.map(placed => [placed.node.id, placed]));
  let candidates: IPlacedNode[];
  if (key === 'ArrowUp' || key === 'ArrowDown') {
    candidates = picture.edges.flatMap(({ edge }) => {
      const ends = forward(edge);
      const id =
        key === 'ArrowUp' && ends.to === from.node.id
          ? ends.from
          : key === 'ArrowDown' && ends.from === from.node.id
            ? ends.to
            : null;
      const place = id === null ? undefined : places.get(id);
      return place ? [place] : [];
    });
  } else if (key === 'ArrowLeft' || key === 'ArrowRight') {
    const side = key === 'ArrowLeft' ? -1 : 1;
    candidates = picture.nodes.filter(
      placed => Math.abs(placed.y - from.y) < from.height && (placed.x - from.x) * side > 0
    );
  } else {
    return null;
  }
  const distance = (placed: IPlacedNode) => Math.hypot(placed.x - from.x, placed.y - from.y);
  return candidates.length > 0 ? candidates.reduce((a, b) => (distance(b) < distance(a) ? b : a)).node.id : null;
}

function Legend({ nodes, trans }: { nodes: ILineageNode[]; trans: TranslationBundle }): JSX.Element {
  const order: LineageNodeType[] = ['execution', 'variable', 'file', 'state', 'model', 'run'];
  const present = order.filter(type => nodes.some(node => node.type === type));
  return (
    <span className="jp-mlops-Legend">
      {present.map(type => (
        <span key={type} data-type={type}>
          <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
            <rect
              className="jp-mlops-Graph-shape"
              x="1"
              y="2"
              width="10"
              height="8"
              rx={type === 'variable' ? 4 : type === 'file' ? 0 : 2}
            />
          </svg>
          {typeName(type, trans)}
        </span>
      ))}
    </span>
  );
}

/** Details that the server may give about a node, in the order in which they help. */
const FACTS = [
  'summary',
  'type_name',
  'notebook',
  'execution_count',
  'status',
  'error',
  'digest',
  'size',
  'grade',
  'reason'
];

function NodeFacts({ node, trans }: { node: ILineageNode; trans: TranslationBundle }): JSX.Element {
  const facts = FACTS.flatMap(key => {
    const value = node[key];
    return value === null || value === undefined || value === '' ? [] : [[key, String(value).slice(0, 300)]];
  });
  const source = typeof node.source === 'string' ? node.source : null;
  return (
    <div className="jp-mlops-Lineage-facts" aria-live="polite">
      <p className="jp-mlops-Lineage-factsTitle">
        {typeName(node.type, trans)} <b>{node.label.slice(0, 200)}</b>
      </p>
      {facts.length > 0 ? (
        <dl>
          {facts.map(([key, value]) => (
            <React.Fragment key={key}>
              <dt>{key.replace(/_/g, ' ')}</dt>
              <dd>{value}</dd>
            </React.Fragment>
          ))}
        </dl>
      ) : null}
      {source !== null ? <pre>{source.slice(0, 20_000)}</pre> : null}
    </div>
  );
}

function Words({ graph, trans }: { graph: IDrawing; trans: TranslationBundle }): JSX.Element {
  const labels = new Map(
    graph.nodes.map(node => [node.id, `${typeName(node.type, trans)} ${node.label.slice(0, 120)}`])
  );
  return (
    <ul>
      {graph.edges.map((edge, index) => (
        <li key={index}>
          {labels.get(edge.source)} <i>{relationName(edge.relation, trans)}</i> {labels.get(edge.target)}
          {edge.names.length > 0 ? `: ${edge.names.join(', ').slice(0, 500)}` : null}
        </li>
      ))}
      {graph.edges.length === 0 ? graph.nodes.map(node => <li key={node.id}>{labels.get(node.id)}</li>) : null}
    </ul>
  );
}

function edgeText(edge: ILineageEdge, trans: TranslationBundle): string {
  return `${relationName(edge.relation, trans)} (${edge.grade}): ${edge.reason}`.slice(0, 300);
}

function relationName(relation: ILineageEdge['relation'], trans: TranslationBundle): string {
  switch (relation) {
    case 'used':
      return trans.__('used');
    case 'was_generated_by':
      return trans.__('was made by');
    case 'was_derived_from':
      return trans.__('was derived from');
    case 'was_informed_by':
      return trans.__('was informed by');
    default:
      return relation;
  }
}

function typeName(type: LineageNodeType, trans: TranslationBundle): string {
  switch (type) {
    case 'execution':
      return trans.__('cell');
    case 'variable':
      return trans.__('variable');
    case 'file':
      return trans.__('file');
    case 'state':
      return trans.__('hidden state');
    case 'run':
      return trans.__('run');
    case 'model':
      return trans.__('model');
    default:
      return type;
  }
}
