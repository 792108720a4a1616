/** The state of a running sync, and how it is shown: as the answer of the progress query and in the Temporal UI. */
import { setCurrentDetails } from '@temporalio/workflow';
import { sourceName } from '../../domain/sync/source-ref.ts';
import type { SyncCounts, SyncStatus, SyncWarning } from '../../domain/sync/targets.ts';
import type { PanelSyncInput, SyncProgressView } from '../contract.ts';
import { newSource, pagesOf, type SourceState } from './sources.ts';

export interface RunState {
  phase: SyncProgressView['phase'];
  sources: SourceState[];
  warnings: SyncWarning[];
  /** Panel requests that were answered. */
  requests: number;
  /** The panel's limit of requests per minute; null = none was seen. */
  limit: number | null;
  /** Why no page is being read; null while one is. */
  waiting: string | null;
  /** Step to report if the run fails now; null = none. */
  failedStep: string | null;
}

export const newRunState = (): RunState => ({
  phase: 'opening',
  sources: [],
  warnings: [],
  requests: 0,
  limit: null,
  waiting: null,
  failedStep: null,
});

/** A run's state as a new run of its workflow gets it: sources in what differs from a source that was not read. */
export type PackedState = Omit<RunState, 'sources'> & {
  sources: (Pick<SourceState, 'source' | 'include'> & Partial<SourceState>)[];
};

export function packState(state: RunState): PackedState {
  const sources = state.sources.map((source) => {
    const fresh: Record<string, unknown> = { ...newSource(source.source, source.include) };
    const changed = Object.entries(source).filter(
      ([name, value]) => JSON.stringify(value) !== JSON.stringify(fresh[name]),
    );
    return { source: source.source, include: source.include, ...Object.fromEntries(changed) };
  });
  return { ...state, sources };
}

export const unpackState = (packed: PackedState): RunState => ({
  ...packed,
  sources: packed.sources.map((s) => ({ ...newSource(s.source, s.include), ...s })),
});

/** Answer of the progress query. */
export function progressView(input: PanelSyncInput, state: RunState): SyncProgressView {
  return {
    logId: input.logId,
    target: input.target,
    phase: state.phase,
    sources: state.sources.map((s) => ({
      source: sourceName(s.source),
      pass: s.pass,
      pagesDone: pagesOf(s),
      pagesTotal: s.pagesTotal,
      items: s.items,
      complete: s.state === 'complete',
    })),
    requests: state.requests,
    waiting: state.waiting,
    warnings: state.warnings,
  };
}

/** Writes the run's current details for the Temporal UI. */
export function showDetails(state: RunState): void {
  const lines = state.sources
    .slice(0, 20)
    .map(
      (s) => `- ${sourceName(s.source)}: page ${pagesOf(s)} of ${s.pagesTotal || '?'}, ${s.items} records, ${s.state}`,
    );
  setCurrentDetails(
    [`**${state.phase}**${state.waiting === null ? '' : ` (waiting: ${state.waiting})`}`, '', ...lines].join('\n'),
  );
}

/** How a run ended, for the Temporal UI. */
export interface Ended {
  status: SyncStatus;
  /** Public sentence of the failure. */
  error?: string | undefined;
  counts: SyncCounts;
}

/** Replaces the current details by how the run ended: the UI shows them of a closed run, too. */
export function showEnding(state: RunState, { status, error, counts }: Ended): void {
  const rows = Object.entries(counts).map(
    ([entity, c]) => `| ${entity} | ${c.created} | ${c.updated} | ${c.unchanged} | ${c.pruned} | ${c.failed} |`,
  );
  const failure = status !== 'FAILED' ? [] : [`at step ${state.failedStep ?? 'starting'}: ${error ?? 'unknown error'}`];
  const table =
    rows.length === 0
      ? []
      : [
          '',
          '| table | created | updated | unchanged | deleted | rejected |',
          '| --- | --- | --- | --- | --- | --- |',
          ...rows,
        ];
  const warnings = state.warnings.slice(0, 20).map((w) => `- ${w.code}: ${w.message}`);
  const more = state.warnings.length > warnings.length ? [`- and ${state.warnings.length - warnings.length} more`] : [];
  setCurrentDetails(
    [
      `**${status}**`,
      ...failure,
      `${state.requests} requests`,
      ...table,
      '',
      state.warnings.length === 0 ? 'no warnings' : `${state.warnings.length} warnings`,
      ...warnings,
      ...more,
    ].join('\n'),
  );
}
