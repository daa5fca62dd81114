import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IRun, IStatus } from '../documents';
import { shortId } from '../format';

interface IHintProps {
  run: IRun;
  status: IStatus;
  copy: (text: string) => void;
  trans: TranslationBundle;
}

/** Where the run is in MLflow: a link to its server, or the command that shows the embedded database. */
export function MlflowHint({ run, status, copy, trans }: IHintProps): JSX.Element {
  const { uri } = status.tracking;
  if (run.mlflow_run_id === null) {
    return <p className="jp-mlops-Mlflow jp-mlops-muted">{trans.__('Not delivered to MLflow yet.')}</p>;
  }
  if (/^https?:\/\//i.test(uri)) {
    const link = `${uri.replace(/\/+$/, '')}/#/runs/${encodeURIComponent(run.mlflow_run_id)}`;
    return (
      <p className="jp-mlops-Mlflow">
        <a href={link} target="_blank" rel="noopener noreferrer">
          {trans.__('Open in MLflow')}
        </a>
      </p>
    );
  }
  const command = `mlflow ui --backend-store-uri '${uri.replace(/'/g, `'\\''`)}'`;
  return (
    <div className="jp-mlops-Mlflow">
      <p className="jp-mlops-muted">{trans.__('In MLflow as %1:', shortId(run.mlflow_run_id))}</p>
      <button
        type="button"
        className="jp-mlops-Copy"
        title={trans.__('Copy the command')}
        onClick={() => copy(command)}
      >
        <code>{command}</code>
      </button>
    </div>
  );
}
