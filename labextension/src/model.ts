import type { Event, ServerConnection } from '@jupyterlab/services';
import { Poll, Throttler } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import type { IChanges, ILineage, IRun, IRunDetail, IRunPage, IStatus } from './documents';
import { ApiError, type IRequest, requestAPI } from './request';
import { CHANGED_EVENT, type IProblem, type IRunsModel, type Phase, type Scope } from './tokens';

/** Milliseconds between looks without an event; below the 30 s for which the server goes on watching. */
const HEARTBEAT = 12_000;
/** Milliseconds between looks while the server does not answer. */
const MAX_WAIT = 20_000;
/** Milliseconds: events of a training loop are answered at this pace. */
const PACE = 150;
/** The status document is fetched again when it is older than this many milliseconds. */
const STATUS_AGE = 2_000;
/** Runs that one page request may ask for (the server's bound). */
const MAX_PAGE = 1_000;

/**
 * Keeps the list and the selected run true: an event is a hint to ask `changes`, and a poll asks where no event
 * comes (it stands by while the page or the panel is hidden).
 */
export class RunsModel implements IRunsModel {
  constructor(options: RunsModel.IOptions) {
    this._settings = options.serverSettings;
    this._events = options.events ?? null;
    this._events?.stream.connect(this._onEvent, this);
    this._hinted = new Throttler(() => this._tickNow(), { limit: PACE, edge: 'trailing' });
    this._poll = new Poll({
      auto: false,
      name: 'mlops-jupyter:runs',
      factory: async () => {
        await this._tickNow();
        if (this._problem !== null) {
          // The poll slows down while things fail.
          throw new Error(this._problem.message);
        }
      },
      frequency: { interval: HEARTBEAT, backoff: true, max: MAX_WAIT },
      standby: () => (this._active ? 'when-hidden' : true)
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }
  get phase(): Phase {
    return this._phase;
  }
  get problem(): IProblem | null {
    return this._problem;
  }
  get runs(): ReadonlyArray<IRun> {
    return this._runs;
  }
  get total(): number {
    return this._total;
  }
  get status(): IStatus | null {
    return this._status;
  }
  get filter(): string {
    return this._filter;
  }
  get filterProblem(): IProblem | null {
    return this._filterProblem;
  }
  get scope(): Scope {
    return this._scope;
  }
  get notebook(): string | null {
    return this._notebook;
  }
  get selectedId(): string | null {
    return this._selectedId;
  }
  get detail(): IRunDetail | null {
    return this._detail;
  }
  get detailProblem(): IProblem | null {
    return this._detailProblem;
  }
  get lineage(): ILineage | null {
    return this._lineage;
  }
  get lineageProblem(): IProblem | null {
    return this._lineageProblem;
  }
  get isDisposed(): boolean {
    return this._isDisposed;
  }

  get isActive(): boolean {
    return this._active;
  }
  set isActive(active: boolean) {
    if (active === this._active || this._isDisposed) {
      return;
    }
    this._active = active;
    if (active) {
      // What happened meanwhile is asked for at once.
      void this._poll.refresh();
    } else {
      void this._poll.stop();
    }
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._events?.stream.disconnect(this._onEvent, this);
    this._hinted.dispose();
    window.clearTimeout(this._statusTimer);
    this._poll.dispose();
    Signal.clearData(this);
  }

  setFilter(text: string): void {
    if (text !== this._filter) {
      this._filter = text;
      this._refetch();
    }
  }

  setScope(scope: Scope): void {
    if (scope !== this._scope) {
      this._scope = scope;
      this._refetch();
    }
  }

  setNotebook(path: string | null): void {
    if (path === this._notebook) {
      return;
    }
    const folder = (text: string | null) => (text ?? '').split('/').slice(0, -1).join('/');
    const moved = folder(path) !== folder(this._notebook);
    this._notebook = path;
    // Another folder may belong to another workspace; another notebook changes the list only where it is narrowed.
    if (moved || this._scope === 'notebook') {
      this._cursor = '';
      this._statusAt = 0;
      this._refetch();
    } else {
      this._changed.emit();
    }
  }

  setPageSize(size: number): void {
    this._pageSize = Math.max(1, Math.min(MAX_PAGE, size));
  }

  select(runId: string | null): void {
    if (runId === this._selectedId) {
      return;
    }
    this._selectedId = runId;
    this._detail = null;
    this._detailProblem = null;
    this._lineage = null;
    this._lineageProblem = null;
    this._changed.emit();
    if (runId !== null) {
      void this._loadDetail(runId);
    }
  }

  async loadMore(): Promise<void> {
    if (this._loadingMore || this._runs.length >= this._total || this._phase !== 'ready') {
      return;
    }
    this._loadingMore = true;
    const generation = this._generation;
    try {
      const page = await this._fetchPage(this._runs.length, this._pageSize);
      if (generation === this._generation) {
        const known = new Set(this._runs.map(run => run.run_id));
        // A run that came in meanwhile moves the pages by one: what is known already is not shown twice.
        this._runs = [...this._runs, ...page.runs.filter(run => !known.has(run.run_id))];
        this._total = page.total;
        this._changed.emit();
      }
    } catch (error) {
      this._failed(error);
    } finally {
      this._loadingMore = false;
    }
  }

  async refresh(): Promise<void> {
    this._cursor = '';
    this._statusAt = 0;
    await this._tickNow();
    if (this._selectedId !== null) {
      await this._loadDetail(this._selectedId);
    }
  }

  async saveNote(runId: string, text: string): Promise<void> {
    await this._request(`runs/${encodeURIComponent(runId)}/note`, { method: 'POST', body: { note: text } });
    await this._tickNow();
    await this._loadDetail(runId);
  }

  async deleteRun(runId: string): Promise<void> {
    await this._request(`runs/${encodeURIComponent(runId)}`, { method: 'DELETE' });
    if (this._selectedId === runId) {
      this.select(null);
    }
    await this._tickNow();
  }

  private _onEvent(_: Event.IManager, emission: Event.Emission): void {
    if (!this._active || emission.schema_id !== CHANGED_EVENT) {
      return;
    }
    if (this._status !== null && emission.workspace !== this._status.workspace.id) {
      return;
    }
    if (emission.cursor !== this._cursor) {
      void this._hinted.invoke();
    } else {
      // Nothing new was recorded, but something was delivered.
      this._statusLater();
    }
  }

  /** Look at once, one look at a time: a call during a look makes one more follow it. */
  private async _tickNow(): Promise<void> {
    if (this._ticking !== null) {
      this._tickAgain = true;
      return this._ticking;
    }
    this._ticking = (async () => {
      do {
        this._tickAgain = false;
        try {
          await this._tick();
        } catch {
          // Already shown; the poll tries again by itself.
        }
      } while (this._tickAgain && !this._isDisposed);
    })();
    try {
      await this._ticking;
    } finally {
      this._ticking = null;
    }
  }

  private _refetch(): void {
    this._generation += 1;
    this._mustFetch = true;
    this._changed.emit();
    if (this._active) {
      void this._tickNow();
    }
  }

  private async _tick(): Promise<void> {
    try {
      const generation = this._generation;
      const changes = await this._request<IChanges>('changes', { query: { since: this._cursor } });
      if (this._isDisposed) {
        return;
      }
      if (generation !== this._generation) {
        // The question changed while the answer was on its way: ask again, and show nothing of it.
        this._tickAgain = true;
        return;
      }
      const known = new Set(this._runs.map(run => run.run_id));
      const page =
        changes.reset ||
        this._mustFetch ||
        this._phase !== 'ready' ||
        changes.removed.length > 0 ||
        (this._filter !== '' && changes.runs.length > 0) ||
        changes.runs.some(run => !known.has(run.run_id));
      if (page) {
        await this._loadPage();
      } else if (changes.runs.length > 0) {
        const fresh = new Map(changes.runs.map(run => [run.run_id, run]));
        this._runs = this._runs.map(run => fresh.get(run.run_id) ?? run);
      }
      this._cursor = changes.cursor;
      this._phase = 'ready';
      this._problem = null;
      await this._loadStatus();
      this._changed.emit();
      const selected = this._selectedId;
      if (selected !== null) {
        if (changes.removed.includes(selected)) {
          this._detailProblem = { message: 'This run was deleted.', hint: '' };
          this._changed.emit();
        } else if (changes.runs.some(run => run.run_id === selected) || this._detail === null) {
          await this._loadDetail(selected);
        }
      }
    } catch (error) {
      if (error instanceof ApiError && error.status === 400) {
        // Perhaps the cursor is of another version's making: begin anew.
        this._cursor = '';
      }
      this._failed(error);
      throw error;
    }
  }

  private async _loadPage(): Promise<void> {
    const generation = this._generation;
    const limit = Math.min(MAX_PAGE, Math.max(this._pageSize, this._runs.length));
    let page: IRunPage;
    try {
      page = await this._fetchPage(0, limit);
    } catch (error) {
      if (error instanceof ApiError && error.status === 400 && this._filter !== '') {
        // The filter is being typed: say what is wrong with it and keep what is shown.
        this._filterProblem = { message: error.message, hint: error.hint };
        this._mustFetch = false;
        return;
      }
      throw error;
    }
    if (generation === this._generation) {
      this._filterProblem = null;
      this._mustFetch = false;
      this._runs = page.runs;
      this._total = page.total;
    }
  }

  private _fetchPage(offset: number, limit: number): Promise<IRunPage> {
    const narrowed = this._scope === 'notebook' && this._notebook !== null;
    return this._request<IRunPage>('runs', {
      query: {
        filter: this._filter.trim() || undefined,
        notebook: narrowed ? (this._notebook ?? undefined) : undefined,
        limit,
        offset
      }
    });
  }

  private async _loadStatus(): Promise<void> {
    const now = Date.now();
    if (now - this._statusAt < STATUS_AGE) {
      this._statusLater();
      return;
    }
    this._statusAt = now;
    this._status = await this._request<IStatus>('status');
    if (!this._status.store.ok) {
      throw new ApiError(this._status.store.message, this._status.store.hint, 503);
    }
  }

  /** Fetch the status once it is old enough. */
  private _statusLater(): void {
    if (this._statusTimer === 0) {
      this._statusTimer = window.setTimeout(() => {
        this._statusTimer = 0;
        if (this._active) {
          void this._tickNow();
        }
      }, STATUS_AGE);
    }
  }

  private async _loadDetail(runId: string): Promise<void> {
    const load = async <T>(path: string, request?: IRequest): Promise<T | IProblem> => {
      try {
        return await this._request<T>(path, request);
      } catch (error) {
        return asProblem(error);
      }
    };
    const detail = await load<IRunDetail>(`runs/${encodeURIComponent(runId)}`);
    if (this._selectedId !== runId || this._isDisposed) {
      return;
    }
    if ('run_id' in detail) {
      this._detail = detail;
      this._detailProblem = null;
    } else {
      this._detailProblem = detail;
    }
    this._changed.emit();
    const lineage = await load<ILineage>('lineage', { query: { target: `run:${runId}`, direction: 'both' } });
    if (this._selectedId !== runId || this._isDisposed) {
      return;
    }
    if ('nodes' in lineage) {
      this._lineage = lineage;
      this._lineageProblem = null;
    } else {
      this._lineageProblem = lineage;
    }
    this._changed.emit();
  }

  private _failed(error: unknown): void {
    if (this._isDisposed) {
      return;
    }
    this._problem = asProblem(error);
    if (error instanceof ApiError && error.missing) {
      this._phase = 'missing';
    } else if (this._phase !== 'ready') {
      this._phase = 'error';
    }
    this._changed.emit();
  }

  private _request<T>(path: string, request: IRequest = {}): Promise<T> {
    // The notebook in front decides which workspace is meant.
    const query = { path: this._notebook ?? undefined, ...request.query };
    return requestAPI<T>(this._settings, path, { ...request, query });
  }

  private readonly _settings: ServerConnection.ISettings;
  private readonly _events: Event.IManager | null;
  private readonly _poll: Poll;
  private readonly _hinted: Throttler;
  private readonly _changed = new Signal<this, void>(this);
  private _isDisposed = false;
  private _active = false;
  private _phase: Phase = 'loading';
  private _problem: IProblem | null = null;
  private _runs: ReadonlyArray<IRun> = [];
  private _total = 0;
  private _status: IStatus | null = null;
  private _statusAt = 0;
  private _statusTimer = 0;
  private _cursor = '';
  private _filter = '';
  private _filterProblem: IProblem | null = null;
  private _scope: Scope = 'all';
  private _notebook: string | null = null;
  private _selectedId: string | null = null;
  private _detail: IRunDetail | null = null;
  private _detailProblem: IProblem | null = null;
  private _lineage: ILineage | null = null;
  private _lineageProblem: IProblem | null = null;
  private _pageSize = 100;
  private _loadingMore = false;
  private _mustFetch = false;
  /** Moves with every change of filter, scope or notebook: an answer to an older question is dropped. */
  private _generation = 0;
  private _ticking: Promise<void> | null = null;
  private _tickAgain = false;
}

export namespace RunsModel {
  export interface IOptions {
    serverSettings: ServerConnection.ISettings;
    /** The server's event stream; without one the poll alone keeps the list true. */
    events?: Event.IManager | null;
  }
}

function asProblem(error: unknown): IProblem {
  if (error instanceof ApiError) {
    return { message: error.message, hint: error.hint };
  }
  return { message: error instanceof Error ? error.message : String(error), hint: '' };
}
