import * as React from 'react';

import type { IMetricPoint } from '../documents';
import { finite, formatMetric } from '../format';

const WIDTH = 84;
const HEIGHT = 20;
const PAD = 2;
/** Points that a line of this width can show; longer histories are thinned to their extremes. */
const MAX_POINTS = WIDTH;

/** The values to draw, at most two for each pixel column so that no peak is lost. Exported for the graph's tests. */
export function thin(values: number[], columns: number = MAX_POINTS): number[] {
  if (values.length <= columns * 2) {
    return values;
  }
  const kept: number[] = [];
  for (let column = 0; column < columns; column++) {
    const from = Math.floor((column * values.length) / columns);
    const to = Math.floor(((column + 1) * values.length) / columns);
    let low = from;
    let high = from;
    for (let i = from; i < to; i++) {
      if (values[i] < values[low]) {
        low = i;
      }
      if (values[i] > values[high]) {
        high = i;
      }
    }
    kept.push(...(low === high ? [values[low]] : [values[Math.min(low, high)], values[Math.max(low, high)]]));
  }
  return kept;
}

/** A metric's history as a line; nothing for a single value. Values that are no numbers are left out. */
export function Sparkline({ points, label }: { points: IMetricPoint[]; label: string }): JSX.Element | null {
  const values = points.map(point => finite(point.value)).filter((value): value is number => value !== null);
  if (values.length < 2) {
    return null;
  }
  const drawn = thin(values);
  const low = drawn.reduce((a, b) => Math.min(a, b));
  const high = drawn.reduce((a, b) => Math.max(a, b));
  const x = (i: number) => PAD + (i * (WIDTH - 2 * PAD)) / (drawn.length - 1);
  const y = (value: number) =>
    high === low ? HEIGHT / 2 : HEIGHT - PAD - ((value - low) / (high - low)) * (HEIGHT - 2 * PAD);
  const line = drawn.map((value, i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join('');
  return (
    <svg
      className="jp-mlops-Sparkline"
      width={WIDTH}
      height={HEIGHT}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      role="img"
      aria-label={`${label}: ${formatMetric(low)} … ${formatMetric(high)} (${values.length})`}
    >
      <path d={line} />
      <circle cx={x(drawn.length - 1)} cy={y(drawn[drawn.length - 1])} r={1.8} />
    </svg>
  );
}
