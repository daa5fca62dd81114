import type { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import { PanelLayout, SplitPanel, Widget } from '@lumino/widgets';
import * as React from 'react';

import { Details, type IDetailActions } from './components/details';
import { Header } from './components/header';
import { Notice } from './components/notice';
import { runsIcon } from './icon';
import { ROW_HEIGHT, RunList } from './list';
import type { IRunsModel } from './tokens';

/** Part of the height that the list keeps at most when a run is selected. */
const LIST_SHARE = 0.36;

/**
 * The left panel: header and list above, the selected run below. The model is active only while it is visible.
 *
 * The style sheet lays header and split out as a flex column, because React gives the header its height.
 */
export class RunsPanel extends Widget {
  constructor(options: RunsPanel.IOptions) {
    super();
    const { model, trans } = options;
    this._model = model;
    this.id = 'mlops-runs';
    this.addClass('jp-mlops-Panel');
    this.title.icon = runsIcon;
    this.title.caption = trans.__('MLOps: runs, metrics and lineage');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('MLOps'));

    const header = follow(model, () => <Header model={model} trans={trans} />);
    header.addClass('jp-mlops-HeaderHost');
    this._notice = follow(model, () => <Notice model={model} trans={trans} />);
    this._notice.addClass('jp-mlops-NoticeHost');
    this._list = new RunList({ model, trans });
    this._details = follow(model, () => <Details model={model} actions={options.actions} trans={trans} />);
    this._details.addClass('jp-mlops-DetailsHost');
    this._split = new SplitPanel({ orientation: 'vertical', spacing: 5 });
    this._split.addClass('jp-mlops-Split');
    this._details.hide();
    this._split.addWidget(this._list);
    this._split.addWidget(this._details);

    const layout = (this.layout = new PanelLayout());
    layout.addWidget(header);
    layout.addWidget(this._notice);
    layout.addWidget(this._split);
    model.changed.connect(this._onChanged, this);
    this._onChanged();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._model.changed.disconnect(this._onChanged, this);
      this._observer?.disconnect();
      super.dispose();
    }
  }

  protected override onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    // The header and the notices change their height by themselves: the split has to learn what is left for it.
    this._observer = new ResizeObserver(() => this._split.fit());
    this._observer.observe(this._split.node);
    this._setActive(this.isVisible);
  }

  protected override onBeforeDetach(msg: Message): void {
    this._observer?.disconnect();
    this._observer = null;
    this._setActive(false);
    super.onBeforeDetach(msg);
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this._setActive(true);
  }

  protected override onAfterHide(msg: Message): void {
    this._setActive(false);
    super.onAfterHide(msg);
  }

  private _setActive(active: boolean): void {
    this._list.isParentHidden = !active;
    this._model.isActive = active;
  }

  private _onChanged(): void {
    const { phase, runs, selectedId } = this._model;
    this._list.setHidden(runs.length === 0 || phase !== 'ready');
    const hidden = selectedId === null || phase !== 'ready';
    if (hidden === this._details.isHidden) {
      return;
    }
    if (hidden) {
      // Where the handle was left is where it is next time.
      this._shares = this._split.relativeSizes();
      this._details.hide();
      return;
    }
    this._details.show();
    // As much list as there are rows, so that a few runs leave the room to the one that is looked at.
    const needed = (runs.length * ROW_HEIGHT) / Math.max(1, this._split.node.clientHeight);
    const share = Math.min(LIST_SHARE, needed);
    this._split.setRelativeSizes(this._shares ?? [share, 1 - share]);
  }

  private readonly _model: IRunsModel;
  private readonly _notice: Widget;
  private readonly _list: RunList;
  private readonly _details: Widget;
  private readonly _split: SplitPanel;
  private _observer: ResizeObserver | null = null;
  private _shares: number[] | null = null;
}

export namespace RunsPanel {
  export interface IOptions {
    model: IRunsModel;
    actions: IDetailActions;
    trans: TranslationBundle;
  }
}

/** A widget that renders again whenever the model changed. */
function follow(model: IRunsModel, render: () => JSX.Element | null): ReactWidget {
  return ReactWidget.create(<UseSignal signal={model.changed}>{() => render() ?? <></>}</UseSignal>);
}
