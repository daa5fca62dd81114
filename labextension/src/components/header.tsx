import type { TranslationBundle } from '@jupyterlab/translation';
import { refreshIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IProblem, IRunsModel, Scope } from '../tokens';
import { DeliveryBadge } from './delivery';

/** Milliseconds of silence after which what was typed is asked for. */
const TYPING = 250;

interface IHeaderProps {
  model: IRunsModel;
  trans: TranslationBundle;
}

/** Title with the delivery badge, filter box, and which runs are listed. */
export function Header({ model, trans }: IHeaderProps): JSX.Element {
  return (
    <div className="jp-mlops-Header">
      <div className="jp-mlops-Header-title">
        <h2>{trans.__('Runs')}</h2>
        <span className="jp-mlops-Header-count" aria-live="polite">
          {model.phase === 'ready' ? model.total.toLocaleString() : ''}
        </span>
        <span className="jp-mlops-spacer" />
        {model.status?.delivery ? <DeliveryBadge delivery={model.status.delivery} trans={trans} /> : null}
        <button
          type="button"
          className="jp-mlops-IconButton"
          title={trans.__('Refresh')}
          aria-label={trans.__('Refresh')}
          onClick={() => void model.refresh()}
        >
          <refreshIcon.react tag="span" width="16px" height="16px" />
        </button>
      </div>
      <FilterBox
        value={model.filter}
        problem={model.filterProblem}
        onChange={text => model.setFilter(text)}
        trans={trans}
      />
      <ScopeToggle
        scope={model.scope}
        notebook={model.notebook}
        onChange={scope => model.setScope(scope)}
        trans={trans}
      />
    </div>
  );
}

interface IFilterProps {
  value: string;
  problem: IProblem | null;
  onChange: (text: string) => void;
  trans: TranslationBundle;
}

function FilterBox({ value, problem, onChange, trans }: IFilterProps): JSX.Element {
  const [text, setText] = React.useState(value);
  React.useEffect(() => setText(value), [value]);
  React.useEffect(() => {
    if (text === value) {
      return undefined;
    }
    const timer = window.setTimeout(() => onChange(text), TYPING);
    return () => window.clearTimeout(timer);
  }, [text, value, onChange]);
  return (
    <div className="jp-mlops-Filter">
      <input
        type="search"
        className="jp-mlops-Filter-input"
        value={text}
        spellCheck={false}
        autoComplete="off"
        placeholder={trans.__('Filter: metrics.accuracy > 0.9')}
        aria-label={trans.__('Filter runs')}
        aria-invalid={problem !== null}
        aria-describedby={problem ? 'jp-mlops-filter-problem' : undefined}
        title={trans.__("For example: params.C = '0.1' and metrics.accuracy > 0.9")}
        onChange={event => setText(event.target.value)}
        onKeyDown={event => {
          if (event.key === 'Enter') {
            onChange(text);
          } else if (event.key === 'Escape' && text !== '') {
            setText('');
            onChange('');
            event.stopPropagation();
          }
        }}
      />
      {problem ? (
        <p className="jp-mlops-Filter-problem" id="jp-mlops-filter-problem" role="alert">
          {problem.message} {problem.hint}
        </p>
      ) : null}
    </div>
  );
}

interface IScopeProps {
  scope: Scope;
  notebook: string | null;
  onChange: (scope: Scope) => void;
  trans: TranslationBundle;
}

function ScopeToggle({ scope, notebook, onChange, trans }: IScopeProps): JSX.Element {
  const choices: { value: Scope; label: string }[] = [
    { value: 'all', label: trans.__('All runs') },
    { value: 'notebook', label: trans.__('This notebook') }
  ];
  return (
    <div className="jp-mlops-Scope" role="group" aria-label={trans.__('Which runs')}>
      {choices.map(choice => (
        <button
          key={choice.value}
          type="button"
          aria-pressed={scope === choice.value}
          disabled={choice.value === 'notebook' && notebook === null}
          title={choice.value === 'notebook' ? (notebook ?? trans.__('No notebook is open')) : undefined}
          onClick={() => onChange(choice.value)}
        >
          {choice.label}
        </button>
      ))}
    </div>
  );
}
