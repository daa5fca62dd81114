import * as React from 'react';

import type { RunStatus } from '../documents';
import { statusPath } from '../statusicon';

/** The mark of a run's state; its name stands beside it, so it is hidden from screen readers. */
export function StatusIcon({ status }: { status: RunStatus }): JSX.Element {
  return (
    <svg className="jp-mlops-StatusIcon" viewBox="0 0 12 12" aria-hidden="true" data-status={status}>
      <path d={statusPath(status)} />
    </svg>
  );
}
