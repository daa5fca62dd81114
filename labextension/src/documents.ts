/**
 * The documents of the server extension, as `mlops_jupyter/server` writes them. A test checks real answers against
 * the JSON Schemas of the package, and these types name the same keys.
 */

export type RunStatus = 'RUNNING' | 'FINISHED' | 'FAILED' | 'KILLED';

/** A metric's value; JSON has no words for these three, so they come as text. */
export type MetricValue = number | 'NaN' | 'Infinity' | '-Infinity';

export interface IRun {
  run_id: string;
  mlflow_run_id: string | null;
  name: string;
  experiment: string;
  status: RunStatus;
  /** Milliseconds since the epoch. */
  start_time: number;
  end_time: number | null;
  /** Seconds. */
  duration: number | null;
  /** When it was deleted, milliseconds since the epoch. */
  deleted_time: number | null;
  parent_run_id: string | null;
  notebook: string | null;
  user: string;
  note: string;
  session_id: string | null;
  execution_id: string | null;
  params: { [key: string]: string };
  metrics: { [key: string]: MetricValue };
  tags: { [key: string]: string };
}

export interface IParamDetail {
  key: string;
  value: string;
  type: string;
  source: string;
}

export interface IMetricPoint {
  value: MetricValue;
  step: number;
  /** Milliseconds since the epoch. */
  timestamp: number;
}

export interface IDataset {
  name: string;
  digest: string;
  source: string;
  context: string;
  shape: number[];
  schema: unknown;
}

export interface IModel {
  model_id: string;
  name: string;
  class: string;
  flavor: string;
  digest: string | null;
  /** Bytes. */
  size: number;
  requirements: string[];
  error: string | null;
}

export interface IArtifact {
  path: string;
  digest: string;
  /** Bytes. */
  size: number;
}

export interface IExecution {
  execution_id: string;
  cell_id: string | null;
  notebook: string | null;
  position: number;
  execution_count: number | null;
  source: string;
  status: 'ok' | 'error' | 'interrupted';
  error: string | null;
  /** Milliseconds since the epoch. */
  start_time: number;
  /** Seconds. */
  duration: number;
}

export interface IReproduction {
  /** Milliseconds since the epoch. */
  at: number;
  verdict: 'equal' | 'within_tolerance' | 'differs' | 'no_metrics' | 'failed';
}

export interface IRunDetail extends IRun {
  reproduced: IReproduction | null;
  param_details: IParamDetail[];
  metric_history: { [key: string]: IMetricPoint[] };
  datasets: IDataset[];
  models: IModel[];
  artifacts: IArtifact[];
  executions: IExecution[];
  children: string[];
}

export interface IRunPage {
  runs: IRun[];
  total: number;
}

export interface IChanges {
  workspace: string;
  cursor: string;
  runs: IRun[];
  removed: string[];
  executions: boolean;
  /** Fetch the page again: the client has no usable cursor or is too far behind. */
  reset: boolean;
}

export interface IStatus {
  workspace: { id: string; root: string; home: string; exists: boolean };
  store: { ok: boolean; message: string; hint: string };
  delivery: { pending: number; dead: number; last_error: string | null } | null;
  tracking: { uri: string; embedded: boolean };
  versions: { mlops_jupyter: string; mlflow: string | null };
}

export type LineageNodeType = 'execution' | 'variable' | 'file' | 'state' | 'run' | 'model';

export interface ILineageNode {
  id: string;
  type: LineageNodeType;
  label: string;
  [detail: string]: unknown;
}

export interface ILineageEdge {
  source: string;
  target: string;
  relation: 'used' | 'was_generated_by' | 'was_derived_from' | 'was_informed_by';
  grade: string;
  reason: string;
}

export interface ILineage {
  target: string;
  /** Ids of the nodes that the target names. */
  focus: string[];
  nodes: ILineageNode[];
  /** From the later to the earlier, as in W3C PROV. */
  edges: ILineageEdge[];
  /** Whether there is more than was asked for. */
  truncated: boolean;
}
