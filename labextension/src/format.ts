import type { TranslationBundle } from '@jupyterlab/translation';

import type { IRun, MetricValue, RunStatus } from './documents';

/** A metric in at most four significant digits, with a proper minus sign. */
export function formatMetric(value: MetricValue): string {
  if (value === 'NaN') {
    return 'NaN';
  }
  if (value === 'Infinity' || value === '-Infinity') {
    return value === 'Infinity' ? '∞' : '−∞';
  }
  const size = Math.abs(value);
  let text: string;
  if (value === 0 || (Number.isInteger(value) && size < 1e6)) {
    text = String(value);
  } else if (size >= 1e5 || size < 1e-3) {
    text = value.toExponential(2);
  } else {
    text = String(Number(value.toPrecision(4)));
  }
  return text.replace('-', '−').replace('e+', 'e');
}

/** The metric as a number for drawing; null where there is none on a line. */
export function finite(value: MetricValue): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** `3 min ago`; `now` and `then` in milliseconds. */
export function formatAgo(trans: TranslationBundle, then: number, now: number): string {
  const seconds = Math.max(0, (now - then) / 1000);
  if (seconds < 45) {
    return trans.__('just now');
  }
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) {
    return trans.__('%1 min ago', minutes);
  }
  const hours = Math.round(minutes / 60);
  if (hours < 24) {
    return trans.__('%1 h ago', hours);
  }
  const days = Math.round(hours / 24);
  return days < 60 ? trans._n('%1 day ago', '%1 days ago', days) : new Date(then).toLocaleDateString();
}

/** `42 ms`, `3.1 s`, `2 min 5 s`. */
export function formatDuration(seconds: number): string {
  if (seconds < 0.9995) {
    return `${Math.round(seconds * 1000)} ms`;
  }
  if (seconds < 59.95) {
    return `${seconds.toFixed(1)} s`;
  }
  const minutes = Math.floor(Math.round(seconds) / 60);
  if (minutes < 60) {
    return `${minutes} min ${Math.round(seconds) % 60} s`;
  }
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `1.5 kB` */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let size = bytes;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 99.5 ? Math.round(size) : Number(size.toPrecision(2))} ${units[unit]}`;
}

export function shortId(id: string): string {
  return id.slice(0, 8);
}

/** The last part of a `/`-separated path. */
export function fileName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function statusLabel(trans: TranslationBundle, status: RunStatus): string {
  switch (status) {
    case 'RUNNING':
      return trans.__('Running');
    case 'FINISHED':
      return trans.__('Finished');
    case 'FAILED':
      return trans.__('Failed');
    case 'KILLED':
      return trans.__('Killed');
    default:
      return status;
  }
}

/** Measures of fit on held-out data say most about a run; those of the training set least. */
export function mainMetrics(run: Pick<IRun, 'metrics'>, count: number): [string, MetricValue][] {
  const rank = (key: string) =>
    key.startsWith('system/') ? 3 : /^(training|train)_/.test(key) ? 2 : /loss|error|mse|mae/.test(key) ? 1 : 0;
  return Object.entries(run.metrics)
    .sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0))
    .slice(0, count);
}
