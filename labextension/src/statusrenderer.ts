import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { Event, ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import { type IDisposable, DisposableDelegate } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { Widget } from '@lumino/widgets';

import type { IRun, MetricValue, RunStatus } from './documents';
import { formatDuration, formatMetric, mainMetrics, shortId, statusLabel } from './format';
import { requestAPI } from './request';
import { createStatusIcon } from './statusicon';
import { CHANGED_EVENT, STATUS_MIME } from './tokens';

/** Milliseconds between looks at runs that are shown running and of which no event tells. */
const INTERVAL = 10_000;
/** Milliseconds: at most this often for a burst of events. */
const PACE = 300;
const CHIPS = 3;

/** What the kernel writes into the notebook; every key may be missing in a file from elsewhere. */
interface IStatusData {
  run_id?: unknown;
  name?: unknown;
  status?: unknown;
  duration?: unknown;
  metrics?: unknown;
}

type Shown = Pick<IRun, 'run_id' | 'name' | 'status' | 'duration' | 'metrics'>;

/** Runs that are drawn below cells and have not ended: asks for them while there are any, and for nothing else. */
export class LiveRuns {
  constructor(options: { serverSettings: ServerConnection.ISettings; events: Event.IManager }) {
    this._settings = options.serverSettings;
    options.events.stream.connect((_, emission) => {
      if (emission.schema_id === CHANGED_EVENT && this._followers.size > 0 && this._timer === 0) {
        this._timer = window.setTimeout(() => {
          this._timer = 0;
          void this._poll.refresh();
        }, PACE);
      }
    });
    this._poll = new Poll({
      auto: false,
      name: 'mlops-jupyter:status',
      factory: () => this._fetch(),
      frequency: { interval: INTERVAL, backoff: true, max: 6 * INTERVAL }
    });
  }

  /** Call `update` with the run as it is now and whenever it changed, until it ended or the result is disposed. */
  follow(runId: string, update: (run: IRun) => void): IDisposable {
    const updates = this._followers.get(runId) ?? new Set();
    this._followers.set(runId, updates.add(update));
    void this._poll.refresh();
    return new DisposableDelegate(() => {
      updates.delete(update);
      if (updates.size === 0 && this._followers.get(runId) === updates) {
        this._followers.delete(runId);
      }
      this._rest();
    });
  }

  private async _fetch(): Promise<void> {
    for (const [runId, updates] of [...this._followers]) {
      const run = await requestAPI<IRun>(this._settings, `runs/${encodeURIComponent(runId)}`, {
        query: { watch: 1 }
      });
      updates.forEach(update => update(run));
      if (run.status !== 'RUNNING') {
        this._followers.delete(runId);
      }
    }
    this._rest();
  }

  private _rest(): void {
    if (this._followers.size === 0) {
      void this._poll.stop();
    }
  }

  private readonly _settings: ServerConnection.ISettings;
  private readonly _poll: Poll;
  private readonly _followers = new Map<string, Set<(run: IRun) => void>>();
  private _timer = 0;
}

/** The line below a tracked cell: how its run stands, with a way to it. Falls back on what the notebook holds. */
export class StatusRenderer extends Widget implements IRenderMime.IRenderer {
  constructor(private readonly _options: StatusRenderer.IOptions) {
    super();
    this.addClass('jp-mlops-Status');
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._live?.dispose();
    this._live = null;
    const run = fromData(model.data[STATUS_MIME] as IStatusData | undefined);
    this._draw(run);
    if (run.run_id !== '' && run.status === 'RUNNING') {
      this._live = this._options.runs.follow(run.run_id, latest => this._draw(latest));
    }
  }

  override dispose(): void {
    this._live?.dispose();
    this._live = null;
    super.dispose();
  }

  private _draw(run: Shown): void {
    if (this.isDisposed) {
      return;
    }
    const { trans, open } = this._options;
    const name = span('jp-mlops-Status-name', run.name.slice(0, 120));
    const parts: Node[] = [createStatusIcon(run.status), name];
    parts.push(span('jp-mlops-muted', statusLabel(trans, run.status)));
    if (run.duration !== null) {
      parts.push(span('jp-mlops-muted', formatDuration(run.duration)));
    }
    for (const [key, value] of mainMetrics(run, CHIPS)) {
      const chip = span('jp-mlops-Chip', '');
      chip.append(span('jp-mlops-Chip-key', key.slice(0, 60)), span('jp-mlops-Chip-value', formatMetric(value)));
      parts.push(chip);
    }
    if (run.run_id !== '') {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'jp-mlops-Link';
      button.textContent = shortId(run.run_id);
      button.title = trans.__('Show the run in the MLOps panel');
      button.addEventListener('click', () => open(run.run_id));
      parts.push(button);
    }
    this.node.replaceChildren(...parts);
  }

  private _live: IDisposable | null = null;
}

export namespace StatusRenderer {
  export interface IOptions {
    runs: LiveRuns;
    trans: TranslationBundle;
    /** Show a run in the panel. */
    open: (runId: string) => void;
  }
}

const STATES: ReadonlyArray<RunStatus> = ['RUNNING', 'FINISHED', 'FAILED', 'KILLED'];

/** The file may come from anyone: take what has the right type. */
function fromData(data: IStatusData | undefined): Shown {
  const metrics: { [key: string]: MetricValue } = {};
  if (typeof data?.metrics === 'object' && data.metrics !== null) {
    for (const [key, value] of Object.entries(data.metrics)) {
      if (typeof value === 'number' || value === 'NaN' || value === 'Infinity' || value === '-Infinity') {
        metrics[key] = value;
      }
    }
  }
  const status = STATES.find(state => state === data?.status) ?? 'FINISHED';
  return {
    run_id: typeof data?.run_id === 'string' && /^[0-9a-f]{8,64}$/.test(data.run_id) ? data.run_id : '',
    name: typeof data?.name === 'string' ? data.name : '',
    status,
    duration: typeof data?.duration === 'number' ? data.duration : null,
    metrics
  };
}

function span(className: string, text: string): HTMLSpanElement {
  const node = document.createElement('span');
  node.className = className;
  node.textContent = text;
  return node;
}
