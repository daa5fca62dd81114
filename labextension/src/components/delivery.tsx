import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IStatus } from '../documents';

interface IDeliveryProps {
  delivery: NonNullable<IStatus['delivery']>;
  trans: TranslationBundle;
}

/** Whether all that was recorded has reached MLflow: how much is on its way, what was refused, and why. */
export function DeliveryBadge({ delivery, trans }: IDeliveryProps): JSX.Element {
  if (delivery.dead > 0) {
    const text = trans._n('%1 refused', '%1 refused', delivery.dead);
    return (
      <span className="jp-mlops-Badge" data-state="refused" role="status" title={delivery.last_error ?? text}>
        {text}
      </span>
    );
  }
  if (delivery.pending > 0) {
    return (
      <span
        className="jp-mlops-Badge"
        data-state="pending"
        role="status"
        title={
          delivery.last_error ??
          trans._n('%1 record is on its way to MLflow', '%1 records are on their way to MLflow', delivery.pending)
        }
      >
        {trans.__('%1 to deliver', delivery.pending.toLocaleString())}
      </span>
    );
  }
  return (
    <span
      className="jp-mlops-Badge"
      data-state="delivered"
      role="status"
      title={trans.__('Everything recorded is in MLflow')}
    >
      {trans.__('in MLflow')}
    </span>
  );
}
