import type { RunStatus } from './documents';

const SVG = 'http://www.w3.org/2000/svg';

/** Shapes differ as well as colours: a state must be told by people who do not see colours apart. */
const SHAPES: { [status in RunStatus]: string } = {
  RUNNING: 'M6 1.5a4.5 4.5 0 1 1-4.5 4.5',
  FINISHED: 'M6 1a5 5 0 1 1 0 10A5 5 0 0 1 6 1z',
  FAILED: 'M2 2l8 8M10 2l-8 8',
  KILLED: 'M2.2 2.2h7.6v7.6H2.2z'
};

export function statusPath(status: RunStatus): string {
  return SHAPES[status] ?? SHAPES.KILLED;
}

/** The mark of a run's state, for code that builds DOM by hand; hidden from screen readers, so name it beside. */
export function createStatusIcon(status: RunStatus): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 12 12');
  svg.setAttribute('aria-hidden', 'true');
  svg.classList.add('jp-mlops-StatusIcon');
  svg.dataset.status = status;
  const path = svg.appendChild(document.createElementNS(SVG, 'path'));
  path.setAttribute('d', statusPath(status));
  return svg;
}
