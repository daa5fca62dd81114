import { Token } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';

import type { ILineage, IRun, IRunDetail, IStatus } from './documents';

export const PLUGIN_ID = 'mlops-jupyter:plugin';
export const MIME_PLUGIN_ID = 'mlops-jupyter:status-renderer';
export const STATUS_MIME = 'application/vnd.mlops.status.v1+json';

/** Which event of the Jupyter server says that something was recorded. */
export const CHANGED_EVENT = 'https://events.mlops-jupyter.dev/changed/v1';

export namespace CommandIDs {
  export const open = 'mlops:open';
  export const refresh = 'mlops:refresh';
}

export type Scope = 'all' | 'notebook';

/**
 * `loading`: nothing shown yet. `ready`: the list is true, or was when last heard (`stale`).
 * `missing`: the server has no such extension. `error`: there is nothing to show, and why.
 */
export type Phase = 'loading' | 'ready' | 'missing' | 'error';

export interface IProblem {
  message: string;
  hint: string;
}

/** The state behind the panel: runs, the selected one, and how the workspace is. No DOM. */
export interface IRunsModel extends IDisposable {
  /** Emitted whenever anything below changed. */
  readonly changed: ISignal<IRunsModel, void>;
  readonly phase: Phase;
  /** What went wrong last; with phase `ready` the list is shown and may be out of date. */
  readonly problem: IProblem | null;
  readonly runs: ReadonlyArray<IRun>;
  /** How many runs fit the filter; `runs` holds the first of them. */
  readonly total: number;
  readonly status: IStatus | null;
  readonly filter: string;
  /** Why the server refused the filter; the list is that of the last good one. */
  readonly filterProblem: IProblem | null;
  readonly scope: Scope;
  /** The notebook in front (path on the server), or null. */
  readonly notebook: string | null;
  readonly selectedId: string | null;
  readonly detail: IRunDetail | null;
  readonly detailProblem: IProblem | null;
  readonly lineage: ILineage | null;
  readonly lineageProblem: IProblem | null;

  /** Whether somebody looks: only then anything is fetched. */
  isActive: boolean;
  setFilter(text: string): void;
  setScope(scope: Scope): void;
  setNotebook(path: string | null): void;
  setPageSize(size: number): void;
  select(runId: string | null): void;
  loadMore(): Promise<void>;
  refresh(): Promise<void>;
  /** @throws ApiError */
  saveNote(runId: string, text: string): Promise<void>;
  /** @throws ApiError */
  deleteRun(runId: string): Promise<void>;
}

export const IRunsModel = new Token<IRunsModel>(
  'mlops-jupyter:IRunsModel',
  'The runs that the MLOps panel shows, live, and the one that is selected.'
);
