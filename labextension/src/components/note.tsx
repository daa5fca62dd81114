import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IRunDetail } from '../documents';
import type { IRunsModel } from '../tokens';

interface INoteProps {
  run: IRunDetail;
  model: IRunsModel;
  trans: TranslationBundle;
}

/** The run's note: text to read, and a box while it is edited. What was typed survives a failure to save. */
export function NoteEditor({ run, model, trans }: INoteProps): JSX.Element {
  const [draft, setDraft] = React.useState<string | null>(null);
  const [problem, setProblem] = React.useState('');
  const [saving, setSaving] = React.useState(false);
  const save = async (text: string) => {
    setSaving(true);
    try {
      await model.saveNote(run.run_id, text);
      setDraft(null);
      setProblem('');
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    } finally {
      setSaving(false);
    }
  };
  if (draft === null) {
    return (
      <div className="jp-mlops-Note">
        {run.note ? <p className="jp-mlops-Note-text">{run.note.slice(0, 20_000)}</p> : null}
        <button type="button" className="jp-mlops-Link" onClick={() => setDraft(run.note)}>
          {run.note ? trans.__('Edit note') : trans.__('Add a note')}
        </button>
      </div>
    );
  }
  return (
    <form
      className="jp-mlops-Note"
      onSubmit={event => {
        event.preventDefault();
        void save(draft);
      }}
    >
      <textarea
        autoFocus
        rows={3}
        value={draft}
        aria-label={trans.__('Note of the run')}
        onChange={event => setDraft(event.target.value)}
        onKeyDown={event => {
          if (event.key === 'Escape') {
            setDraft(null);
            event.stopPropagation();
          } else if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            void save(draft);
          }
        }}
      />
      {problem ? (
        <p className="jp-mlops-Filter-problem" role="alert">
          {problem}
        </p>
      ) : null}
      <div className="jp-mlops-Note-buttons">
        <button type="submit" className="jp-mlops-Button" data-accept disabled={saving}>
          {trans.__('Save')}
        </button>
        <button type="button" className="jp-mlops-Button" onClick={() => setDraft(null)}>
          {trans.__('Cancel')}
        </button>
      </div>
    </form>
  );
}
