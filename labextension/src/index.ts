import { ILabShell, ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, Dialog, ICommandPalette, Notification, showDialog } from '@jupyterlab/apputils';
import { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import type { Highlighter } from './components/details';
import type { IRun } from './documents';
import { shortId } from './format';
import { runsIcon } from './icon';
import { RunsModel } from './model';
import { RunsPanel } from './panel';
import { LiveRuns, StatusRenderer } from './statusrenderer';
import { CommandIDs, IRunsModel, MIME_PLUGIN_ID, PLUGIN_ID, type Scope, STATUS_MIME } from './tokens';

const panelPlugin: JupyterFrontEndPlugin<IRunsModel> = {
  id: PLUGIN_ID,
  description: 'The MLOps panel: runs with parameters, metrics and cell lineage, live.',
  autoStart: true,
  provides: IRunsModel,
  optional: [
    ILabShell,
    ILayoutRestorer,
    ICommandPalette,
    INotebookTracker,
    ISettingRegistry,
    IEditorLanguageRegistry,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    labShell: ILabShell | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    notebooks: INotebookTracker | null,
    settings: ISettingRegistry | null,
    languages: IEditorLanguageRegistry | null,
    translator: ITranslator | null
  ): IRunsModel => {
    const trans = (translator ?? nullTranslator).load('mlops_jupyter');
    const { serverSettings, events, contents } = app.serviceManager;
    const model = new RunsModel({ serverSettings, events });

    const copy = (text: string) => {
      Clipboard.copyToSystem(text);
      Notification.info(trans.__('Copied'), { autoClose: 1500 });
    };
    const remove = async (run: IRun) => {
      const answer = await showDialog({
        title: trans.__('Delete the run?'),
        body: trans.__(
          '"%1" (%2) is marked as deleted, here and in MLflow.',
          run.name.slice(0, 100),
          shortId(run.run_id)
        ),
        buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.warnButton({ label: trans.__('Delete') })]
      });
      if (answer.button.accept) {
        await model.deleteRun(run.run_id);
      }
    };
    const panel = new RunsPanel({
      model,
      trans,
      actions: {
        copy,
        remove: run => {
          remove(run).catch((error: Error) => Notification.error(error.message));
        },
        highlight: languages ? pythonHighlighter(languages) : null
      }
    });
    app.shell.add(panel, 'left', { rank: 650, type: 'MLOps' });
    restorer?.add(panel, panel.id);

    if (notebooks) {
      const follow = () => {
        const path = notebooks.currentWidget?.context.path;
        // A path of a collaborative or other drive begins with the drive's name, which the server does not know.
        model.setNotebook(path === undefined ? null : contents.localPath(path));
      };
      notebooks.currentChanged.connect(follow);
      follow();
    }

    app.commands.addCommand(CommandIDs.open, {
      label: trans.__('Show MLOps Runs'),
      caption: trans.__('Show the runs of this workspace with their metrics and lineage'),
      icon: runsIcon,
      describedBy: {
        args: {
          type: 'object',
          properties: { run: { type: 'string', description: trans.__('The id of a run to select') } }
        }
      },
      execute: args => {
        app.shell.activateById(panel.id);
        if (typeof args.run === 'string') {
          model.select(args.run);
        }
      }
    });
    app.commands.addCommand(CommandIDs.refresh, {
      label: trans.__('Refresh MLOps Runs'),
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => model.refresh()
    });
    const category = trans.__('MLOps');
    palette?.addItem({ command: CommandIDs.open, category });
    palette?.addItem({ command: CommandIDs.refresh, category });

    if (settings) {
      settings
        .load(PLUGIN_ID)
        .then(loaded => {
          const apply = () => model.setPageSize(loaded.get('pageSize').composite as number);
          apply();
          loaded.changed.connect(apply);
          model.setScope(loaded.get('scope').composite as Scope);
        })
        .catch(error => console.warn('mlops-jupyter: settings are not available.', error));
    }
    if (labShell === null) {
      // Notebook 7 shows no tab bar for its side panels: the palette and the View menu open it.
      panel.title.label = trans.__('MLOps');
    }
    return model;
  }
};

const statusPlugin: JupyterFrontEndPlugin<void> = {
  id: MIME_PLUGIN_ID,
  description: 'Draws the status of a tracked cell below it, live, and without a kernel.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, rendermime: IRenderMimeRegistry, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load('mlops_jupyter');
    const { serverSettings, events } = app.serviceManager;
    const runs = new LiveRuns({ serverSettings, events });
    rendermime.addFactory(
      {
        safe: true,
        mimeTypes: [STATUS_MIME],
        // Before the HTML of the same bundle, which is for places without this extension.
        defaultRank: 40,
        createRenderer: () =>
          new StatusRenderer({
            runs,
            trans,
            open: runId => void app.commands.execute(CommandIDs.open, { run: runId })
          })
      },
      40
    );
  }
};

function pythonHighlighter(languages: IEditorLanguageRegistry): Highlighter {
  return async (source, host) => {
    await languages.highlight(source, languages.findByMIME('text/x-python'), host);
  };
}

export { IRunsModel } from './tokens';

const plugins = [panelPlugin, statusPlugin];
export default plugins;
