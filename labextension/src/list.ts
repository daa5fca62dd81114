import type { TranslationBundle } from '@jupyterlab/translation';
import { WindowedList, WindowedListModel } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import type { IRun } from './documents';
import { fileName, formatAgo, formatMetric, mainMetrics, shortId, statusLabel } from './format';
import { createStatusIcon } from './statusicon';
import type { IRunsModel } from './tokens';

/** Pixels; the style sheet gives every row this height, so nothing has to be measured. */
export const ROW_HEIGHT = 68;
/** Rows before the end of what is loaded at which more is fetched. */
const AHEAD = 30;
const CHIPS = 3;
/** Rows that are kept for a way back, on screen or not. */
const MAX_ROWS = 200;

/**
 * One row. Plain DOM instead of React: a scroll makes dozens of them, and text set as `textContent` needs no escape.
 */
class RunRow extends Widget {
  constructor(readonly index: number) {
    super({ node: document.createElement('div') });
    this.addClass('jp-mlops-Row');
    this.node.setAttribute('role', 'option');
    this.node.id = rowId(index);
    const head = this.node.appendChild(element('div', 'jp-mlops-Row-head'));
    this._icon = head.appendChild(element('span', 'jp-mlops-Row-status'));
    this._name = head.appendChild(element('span', 'jp-mlops-Row-name'));
    this._ago = head.appendChild(element('span', 'jp-mlops-Row-ago'));
    const middle = this.node.appendChild(element('div', 'jp-mlops-Row-where'));
    this._id = middle.appendChild(element('span', 'jp-mlops-Row-id'));
    this._notebook = middle.appendChild(element('span', 'jp-mlops-Row-notebook'));
    this._chips = this.node.appendChild(element('div', 'jp-mlops-Row-metrics'));
  }

  showRun(run: IRun, options: { selected: boolean; total: number; now: number; trans: TranslationBundle }): void {
    const { selected, total, now, trans } = options;
    const label = statusLabel(trans, run.status);
    this.node.setAttribute('aria-selected', String(selected));
    this.node.setAttribute('aria-setsize', String(total));
    this.node.setAttribute('aria-posinset', String(this.index + 1));
    this.toggleClass('jp-mod-selected', selected);
    if (this._status !== run.status) {
      this._status = run.status;
      this._icon.replaceChildren(createStatusIcon(run.status), hiddenText(label));
      this._icon.title = label;
    }
    setText(this._name, run.name.slice(0, 300) || trans.__('(unnamed)'));
    this._name.title = run.name.slice(0, 1000);
    setText(this._ago, formatAgo(trans, run.start_time, now));
    this._ago.title = new Date(run.start_time).toLocaleString();
    setText(this._id, shortId(run.run_id));
    setText(this._notebook, run.notebook === null ? '' : fileName(run.notebook));
    this._notebook.title = run.notebook ?? '';
    this._showChips(run, trans);
  }

  private _showChips(run: IRun, trans: TranslationBundle): void {
    const metrics = mainMetrics(run, CHIPS);
    const chips: [string, string][] = metrics.length
      ? metrics.map(([key, value]) => [key, formatMetric(value)])
      : Object.entries(run.params)
          .slice(0, CHIPS)
          .map(([key, value]) => [key, value.slice(0, 40)]);
    const text = chips.map(chip => chip.join('\u0000')).join('\u0001');
    if (text === this._shown) {
      return;
    }
    this._shown = text;
    this._chips.replaceChildren(
      ...chips.map(([key, value]) => {
        const chip = element('span', 'jp-mlops-Chip');
        chip.appendChild(element('span', 'jp-mlops-Chip-key')).textContent = key.slice(0, 60);
        chip.appendChild(element('span', 'jp-mlops-Chip-value')).textContent = value;
        chip.title = `${key.slice(0, 300)} = ${value}`;
        return chip;
      })
    );
    if (chips.length === 0) {
      this._chips.appendChild(element('span', 'jp-mlops-Row-nothing')).textContent = trans.__('no metrics');
    }
  }

  private readonly _icon: HTMLElement;
  private readonly _name: HTMLElement;
  private readonly _ago: HTMLElement;
  private readonly _id: HTMLElement;
  private readonly _notebook: HTMLElement;
  private readonly _chips: HTMLElement;
  private _status: string | null = null;
  private _shown: string | null = null;
}

/** Rows by position: a row keeps its place and shows whatever run is there. */
class RunListModel extends WindowedListModel {
  constructor(
    private readonly _runs: IRunsModel,
    private readonly _trans: TranslationBundle
  ) {
    super({ overscanCount: 4 });
  }

  estimateWidgetSize = (): number => ROW_HEIGHT;

  widgetRenderer = (index: number): Widget => {
    let row = this._rows.get(index);
    if (row === undefined) {
      row = new RunRow(index);
      this._rows.set(index, row);
    }
    this._fill(row);
    if (index >= this._runs.runs.length - AHEAD) {
      void this._runs.loadMore();
    }
    return row;
  };

  /** Show what the runs model holds now in the rows that are on screen; forget others once there are many. */
  refresh(): void {
    for (const [index, row] of this._rows) {
      if (row.parent !== null) {
        this._fill(row);
      } else if (this._rows.size > MAX_ROWS) {
        this._rows.delete(index);
        row.dispose();
      }
    }
    this.widgetCount = this._runs.runs.length;
  }

  override dispose(): void {
    for (const row of this._rows.values()) {
      row.dispose();
    }
    this._rows.clear();
    super.dispose();
  }

  private _fill(row: RunRow): void {
    const run = this._runs.runs[row.index];
    if (run !== undefined) {
      row.showRun(run, {
        selected: run.run_id === this._runs.selectedId,
        total: this._runs.total,
        now: Date.now(),
        trans: this._trans
      });
    }
  }

  private readonly _rows = new Map<number, RunRow>();
}

/** The list of runs: a listbox of which only the rows in view are in the DOM. */
export class RunList extends WindowedList<RunListModel> {
  constructor(options: RunList.IOptions) {
    super({ model: new RunListModel(options.model, options.trans) });
    this._runs = options.model;
    this.addClass('jp-mlops-RunList');
    this.outerNode.setAttribute('role', 'listbox');
    this.outerNode.setAttribute('aria-label', options.trans.__('Runs'));
    this.outerNode.tabIndex = 0;
    // Only options belong between a listbox and its rows.
    for (let node = this.viewportNode; node !== this.outerNode; node = node.parentElement!) {
      node.setAttribute('role', 'presentation');
    }
    this._runs.changed.connect(this._onChanged, this);
    this._onChanged();
  }

  override dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this._runs.changed.disconnect(this._onChanged, this);
    const model = this.viewModel;
    super.dispose();
    model.dispose();
  }

  override handleEvent(event: Event): void {
    if (event.type === 'click') {
      this._onClick(event as MouseEvent);
    } else if (event.type === 'keydown') {
      this._onKey(event as KeyboardEvent);
    } else {
      super.handleEvent(event);
    }
  }

  protected override onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    this.outerNode.addEventListener('click', this);
    this.outerNode.addEventListener('keydown', this);
  }

  protected override onBeforeDetach(msg: Message): void {
    this.outerNode.removeEventListener('click', this);
    this.outerNode.removeEventListener('keydown', this);
    super.onBeforeDetach(msg);
  }

  private get _selectedIndex(): number {
    return this._runs.runs.findIndex(run => run.run_id === this._runs.selectedId);
  }

  private _onChanged(): void {
    this.viewModel.refresh();
    this.update();
    const index = this._selectedIndex;
    const shown = index >= 0 && this.node.querySelector(`#${rowId(index)}`) !== null;
    if (shown) {
      this.outerNode.setAttribute('aria-activedescendant', rowId(index));
    } else {
      this.outerNode.removeAttribute('aria-activedescendant');
    }
  }

  private _onClick(event: MouseEvent): void {
    const row = (event.target as Element).closest<HTMLElement>('.jp-mlops-Row');
    const run = row && this._runs.runs[Number(row.dataset.windowedListIndex)];
    if (run) {
      this._runs.select(run.run_id);
    }
  }

  private _onKey(event: KeyboardEvent): void {
    const last = this._runs.runs.length - 1;
    const current = this._selectedIndex;
    const page = Math.max(1, Math.floor(this.outerNode.clientHeight / ROW_HEIGHT) - 1);
    const moves: { [key: string]: number } = {
      ArrowDown: current + 1,
      ArrowUp: current < 0 ? 0 : current - 1,
      PageDown: current + page,
      PageUp: current - page,
      Home: 0,
      End: last
    };
    if (event.key === 'Escape') {
      this._runs.select(null);
    } else if (event.key in moves && last >= 0) {
      const next = Math.max(0, Math.min(last, moves[event.key]));
      this._runs.select(this._runs.runs[next].run_id);
      this._reveal(next);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** Scroll as little as needed, once the list has the height that the selection leaves it. */
  private _reveal(index: number): void {
    requestAnimationFrame(() => {
      const { scrollTop, clientHeight } = this.outerNode;
      const top = index * ROW_HEIGHT;
      if (top < scrollTop) {
        this.outerNode.scrollTop = top;
      } else if (top + ROW_HEIGHT > scrollTop + clientHeight) {
        this.outerNode.scrollTop = top + ROW_HEIGHT - clientHeight;
      }
    });
  }

  private readonly _runs: IRunsModel;
}

export namespace RunList {
  export interface IOptions {
    model: IRunsModel;
    trans: TranslationBundle;
  }
}

function rowId(index: number): string {
  return `jp-mlops-row-${index}`;
}

function element(tag: string, className: string): HTMLElement {
  const node = document.createElement(tag);
  node.className = className;
  return node;
}

function hiddenText(text: string): HTMLElement {
  const node = element('span', 'jp-mlops-hidden');
  node.textContent = text;
  return node;
}

function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}
