import type { TranslationBundle } from '@jupyterlab/translation';
import { closeIcon, copyIcon, deleteIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IDataset, IExecution, IMetricPoint, IModel, IRun, IRunDetail } from '../documents';
import { formatBytes, formatDuration, formatMetric, mainMetrics, shortId, statusLabel } from '../format';
import type { IRunsModel } from '../tokens';
import { LineageView } from './lineage';
import { MlflowHint } from './mlflow';
import { NoteEditor } from './note';
import { Section } from './section';
import { Sparkline } from './sparkline';
import { StatusIcon } from './status';

/** Colours the source of a cell in place; given by the application where it can. */
export type Highlighter = (source: string, host: HTMLElement) => Promise<void>;

/** What the pane asks of the application. */
export interface IDetailActions {
  copy: (text: string) => void;
  /** Ask, then delete. */
  remove: (run: IRun) => void;
  highlight: Highlighter | null;
}

interface IDetailsProps {
  model: IRunsModel;
  actions: IDetailActions;
  trans: TranslationBundle;
}

/** Everything about the selected run; the row's facts stand until the rest has come. */
export function Details({ model, actions, trans }: IDetailsProps): JSX.Element | null {
  const id = model.selectedId;
  if (id === null) {
    return null;
  }
  const detail = model.detail;
  const run = detail ?? model.runs.find(candidate => candidate.run_id === id) ?? null;
  return (
    <section className="jp-mlops-Details" aria-label={trans.__('Selected run')}>
      {run ? <Head run={run} model={model} actions={actions} trans={trans} /> : null}
      {model.detailProblem ? (
        <p className="jp-mlops-Stale" role="alert">
          {model.detailProblem.message} {model.detailProblem.hint}
        </p>
      ) : null}
      {detail ? <Body detail={detail} model={model} actions={actions} trans={trans} /> : null}
      {detail || model.detailProblem ? null : <p className="jp-mlops-note">{trans.__('Loading…')}</p>}
    </section>
  );
}

function Head({ run, model, actions, trans }: IDetailsProps & { run: IRun }): JSX.Element {
  const facts = [
    statusLabel(trans, run.status),
    run.duration === null ? null : formatDuration(run.duration),
    new Date(run.start_time).toLocaleString(),
    run.user || null
  ].filter(fact => fact !== null);
  return (
    <header className="jp-mlops-Details-head">
      <div className="jp-mlops-Details-title">
        <StatusIcon status={run.status} />
        <h3 title={run.name.slice(0, 1000)}>{run.name.slice(0, 300)}</h3>
        <IconButton label={trans.__('Delete this run')} onClick={() => actions.remove(run)}>
          <deleteIcon.react tag="span" width="16px" height="16px" />
        </IconButton>
        <IconButton label={trans.__('Close')} onClick={() => model.select(null)}>
          <closeIcon.react tag="span" width="16px" height="16px" />
        </IconButton>
      </div>
      <p className="jp-mlops-Details-facts">{facts.join(' · ')}</p>
      <p className="jp-mlops-Details-facts">
        <button
          type="button"
          className="jp-mlops-Copy"
          title={trans.__('Copy the run id %1', run.run_id)}
          aria-label={trans.__('Copy run id')}
          onClick={() => actions.copy(run.run_id)}
        >
          <code>{shortId(run.run_id)}</code>
          <copyIcon.react tag="span" width="12px" height="12px" />
        </button>
        {run.notebook ? <span title={run.notebook}>{run.notebook}</span> : null}
      </p>
    </header>
  );
}

function Body({ detail, model, actions, trans }: IDetailsProps & { detail: IRunDetail }): JSX.Element {
  const tags = Object.entries(detail.tags);
  return (
    <div className="jp-mlops-Details-body">
      <NoteEditor key={detail.run_id} run={detail} model={model} trans={trans} />
      <Section id="metrics" title={trans.__('Metrics')} count={Object.keys(detail.metrics).length}>
        <Metrics detail={detail} />
      </Section>
      <Section id="params" title={trans.__('Parameters')} count={detail.param_details.length}>
        <Params detail={detail} trans={trans} />
      </Section>
      <Section id="lineage" title={trans.__('Lineage')} count={model.lineage?.nodes.length === 0 ? 0 : null}>
        {model.lineage ? (
          <LineageView graph={model.lineage} trans={trans} />
        ) : (
          <p className="jp-mlops-note">{model.lineageProblem?.message ?? trans.__('Loading…')}</p>
        )}
      </Section>
      <Section id="code" title={trans.__('Code')} count={detail.executions.length}>
        {detail.executions.map(execution => (
          <Cell key={execution.execution_id} execution={execution} highlight={actions.highlight} trans={trans} />
        ))}
      </Section>
      <Section id="data" title={trans.__('Data sets')} count={detail.datasets.length}>
        {detail.datasets.map((dataset, index) => (
          <Dataset key={index} dataset={dataset} />
        ))}
      </Section>
      <Section id="models" title={trans.__('Models')} count={detail.models.length}>
        {detail.models.map(item => (
          <Model key={item.model_id} item={item} trans={trans} />
        ))}
      </Section>
      <Section id="artifacts" title={trans.__('Artifacts')} count={detail.artifacts.length} closed>
        <ul className="jp-mlops-Files">
          {detail.artifacts.map(artifact => (
            <li key={artifact.path}>
              <span title={artifact.path}>{artifact.path}</span>
              <span className="jp-mlops-muted">{formatBytes(artifact.size)}</span>
            </li>
          ))}
        </ul>
      </Section>
      <Section id="tags" title={trans.__('Tags')} count={tags.length} closed>
        <table className="jp-mlops-Table">
          <tbody>
            {tags.map(([key, value]) => (
              <tr key={key}>
                <th scope="row" title={key}>
                  {key.slice(0, 300)}
                </th>
                <td title={value.slice(0, 1000)}>{value.slice(0, 300)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Section>
      {model.status ? <MlflowHint run={detail} status={model.status} copy={actions.copy} trans={trans} /> : null}
    </div>
  );
}

function Metrics({ detail }: { detail: IRunDetail }): JSX.Element {
  const rows = mainMetrics(detail, Infinity);
  const history = (key: string): IMetricPoint[] => detail.metric_history[key] ?? [];
  const curves = rows.some(([key]) => history(key).length > 1);
  return (
    <table className="jp-mlops-Table jp-mlops-Metrics">
      <tbody>
        {rows.map(([key, value]) => (
          <tr key={key}>
            <th scope="row" title={key.slice(0, 1000)}>
              {key.slice(0, 300)}
            </th>
            {curves ? (
              <td className="jp-mlops-Metrics-line">
                <Sparkline points={history(key)} label={key.slice(0, 100)} />
              </td>
            ) : null}
            <td className="jp-mlops-number" title={String(value)}>
              {formatMetric(value)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Hyper-parameters of an estimator are many and mostly defaults, so they are folded once there are more than these. */
const FOLD = 8;

function Params({ detail, trans }: { detail: IRunDetail; trans: TranslationBundle }): JSX.Element {
  const own = detail.param_details.filter(param => param.source !== 'estimator');
  const fitted = detail.param_details.filter(param => param.source === 'estimator');
  const table = (params: typeof own) => (
    <table className="jp-mlops-Table">
      <tbody>
        {params.map(param => (
          <tr key={param.key}>
            <th scope="row" title={param.key.slice(0, 1000)}>
              {param.key.slice(0, 300)}
            </th>
            <td title={`${param.value.slice(0, 1000)} (${param.type}, ${param.source})`}>
              {param.value.slice(0, 300)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
  if (fitted.length <= FOLD) {
    return table(detail.param_details);
  }
  return (
    <>
      {own.length > 0 ? table(own) : null}
      <details className="jp-mlops-Fold">
        <summary>{trans.__('%1 hyper-parameters of the estimators', fitted.length)}</summary>
        {table(fitted)}
      </details>
    </>
  );
}

interface ICellProps {
  execution: IExecution;
  highlight: Highlighter | null;
  trans: TranslationBundle;
}

function Cell({ execution, highlight, trans }: ICellProps): JSX.Element {
  const host = React.useRef<HTMLPreElement>(null);
  React.useEffect(() => {
    const node = host.current;
    if (node === null) {
      return;
    }
    node.textContent = execution.source;
    if (highlight !== null && execution.source.length < 50_000) {
      node.textContent = '';
      highlight(execution.source, node).catch(() => {
        node.textContent = execution.source;
      });
    }
  }, [execution.source, highlight]);
  return (
    <figure className="jp-mlops-Cell" data-status={execution.status}>
      <figcaption>
        <span className="jp-mlops-Cell-prompt">[{execution.execution_count ?? ' '}]</span>
        <span className="jp-mlops-muted">{formatDuration(execution.duration)}</span>
      </figcaption>
      <pre ref={host} tabIndex={0} aria-label={trans.__('Source of the cell')} />
      {execution.error ? <p className="jp-mlops-Cell-error">{execution.error.slice(0, 500)}</p> : null}
    </figure>
  );
}

function Dataset({ dataset }: { dataset: IDataset }): JSX.Element {
  return (
    <div className="jp-mlops-Fact">
      <p>
        <b>{dataset.name.slice(0, 200)}</b> {dataset.shape.length > 0 ? <span>{dataset.shape.join(' × ')}</span> : null}{' '}
        <span className="jp-mlops-muted">{dataset.context}</span>
      </p>
      <p className="jp-mlops-muted" title={`${dataset.source}\n${dataset.digest}`}>
        {dataset.digest.slice(0, 23)} · {dataset.source.slice(0, 200)}
      </p>
    </div>
  );
}

function Model({ item, trans }: { item: IModel; trans: TranslationBundle }): JSX.Element {
  return (
    <div className="jp-mlops-Fact">
      <p>
        <b>{item.name.slice(0, 200)}</b> <span title={item.class}>{item.class.split('.').pop()}</span>
      </p>
      <p className="jp-mlops-muted" title={item.digest ?? ''}>
        {[item.flavor, item.size > 0 ? formatBytes(item.size) : null, item.digest?.slice(0, 19)]
          .filter(Boolean)
          .join(' · ')}
      </p>
      {item.error ? (
        <p className="jp-mlops-Cell-error">
          {trans.__('Not kept:')} {item.error.slice(0, 500)}
        </p>
      ) : null}
    </div>
  );
}

interface IIconButtonProps {
  label: string;
  onClick: () => void;
  children: React.ReactNode;
}

function IconButton({ label, onClick, children }: IIconButtonProps): JSX.Element {
  return (
    <button type="button" className="jp-mlops-IconButton" title={label} aria-label={label} onClick={onClick}>
      {children}
    </button>
  );
}
