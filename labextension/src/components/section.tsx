import * as React from 'react';

interface ISectionProps {
  /** Names the section in the memory of what is open. */
  id: string;
  title: string;
  /** How many things are in it; null where that is not known yet. A section with none is not shown. */
  count: number | null;
  /** Closed until it is opened for the first time. */
  closed?: boolean;
  children: React.ReactNode;
}

/** Which sections were opened or closed, for all runs alike, as long as the page lives. */
const opened = new Map<string, boolean>();

/** A part of the details that folds. What is folded is not rendered. */
export function Section({ id, title, count, closed, children }: ISectionProps): JSX.Element | null {
  const [open, setOpen] = React.useState(opened.get(id) ?? !closed);
  if (count === 0) {
    return null;
  }
  return (
    <details
      className="jp-mlops-Section"
      data-section={id}
      open={open}
      onToggle={event => {
        // The event of a fold inside bubbles up to here in React.
        if (event.target === event.currentTarget) {
          opened.set(id, event.currentTarget.open);
          setOpen(event.currentTarget.open);
        }
      }}
    >
      <summary>
        <h4>{title}</h4>
        {count === null ? null : <span className="jp-mlops-muted">{count}</span>}
      </summary>
      {open ? children : null}
    </details>
  );
}
