import { LabIcon } from '@jupyterlab/ui-components';

/** Two cells that lead to a result: the mark of the panel. */
export const runsIcon = new LabIcon({
  name: 'mlops-jupyter:runs',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">
  <g class="jp-icon3 jp-icon-selectable" fill="#616161">
    <path d="M3 3h7a1 1 0 0 1 1 1v4a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zm.75 1.75v2.5h5.5v-2.5z"/>
    <path d="M3 15h7a1 1 0 0 1 1 1v4a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1v-4a1 1 0 0 1 1-1zm.75 1.75v2.5h5.5v-2.5z"/>
    <path d="M12 5.1h1.5a3 3 0 0 1 3 3v.4h-1.8v-.4a1.2 1.2 0 0 0-1.2-1.2H12zM12 17.1h1.5a1.2 1.2 0 0 0 1.2-1.2v-.4h1.8v.4a3 3 0 0 1-3 3H12z"/>
    <path fill-rule="evenodd" d="M17 7.8a4.2 4.2 0 1 1 0 8.4 4.2 4.2 0 0 1 0-8.4zm2.1 2.3-2.7 2.8-1.3-1.3-1.1 1.1 2.4 2.4 3.8-3.9z"/>
  </g>
</svg>`
});
