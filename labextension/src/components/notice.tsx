import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { runsIcon } from '../icon';
import type { IProblem, IRunsModel } from '../tokens';

interface INoticeProps {
  model: IRunsModel;
  trans: TranslationBundle;
}

/** What stands in the list's place when there is no row, and the line above it when the list may be out of date. */
export function Notice({ model, trans }: INoticeProps): JSX.Element | null {
  switch (model.phase) {
    case 'missing':
      return (
        <Placard
          title={trans.__('The server has no mlops-jupyter')}
          text={trans.__('Install it where the Jupyter server runs, then restart the server:')}
          code="pip install mlops-jupyter"
        />
      );
    case 'error':
      return (
        <Placard
          title={model.problem?.message ?? trans.__('Something went wrong.')}
          text={model.problem?.hint || trans.__('It is tried again by itself.')}
          role="alert"
        />
      );
    case 'loading':
      return <Placard title={trans.__('Loading runs…')} />;
    case 'ready':
      break;
  }
  return (
    <>
      {model.problem ? <Stale problem={model.problem} trans={trans} /> : null}
      {model.runs.length > 0 ? null : <Empty model={model} trans={trans} />}
    </>
  );
}

function Stale({ problem, trans }: { problem: IProblem; trans: TranslationBundle }): JSX.Element {
  return (
    <p className="jp-mlops-Stale" role="alert">
      {problem.message} {problem.hint || trans.__('What you see may be out of date.')}
    </p>
  );
}

function Empty({ model, trans }: INoticeProps): JSX.Element {
  if (model.filter.trim() !== '') {
    return <Placard title={trans.__('No run fits the filter')} />;
  }
  if (model.scope === 'notebook' && model.notebook !== null) {
    return (
      <Placard
        title={trans.__('No runs of this notebook yet')}
        text={trans.__('Put %%track on the first line of a cell that trains or evaluates something.')}
      />
    );
  }
  return (
    <Placard
      title={trans.__('No runs yet')}
      text={trans.__('Run these two in a notebook, and the run appears here:')}
      code={'%load_ext mlops_jupyter\n\n%%track\nmodel.fit(X, y)'}
    />
  );
}

interface IPlacardProps {
  title: string;
  text?: string;
  code?: string;
  role?: 'alert';
}

function Placard({ title, text, code, role }: IPlacardProps): JSX.Element {
  return (
    <div className="jp-mlops-Placard" role={role}>
      <runsIcon.react tag="span" width="32px" height="32px" aria-hidden="true" />
      <p className="jp-mlops-Placard-title">{title}</p>
      {text ? <p>{text}</p> : null}
      {code ? <pre>{code}</pre> : null}
    </div>
  );
}
