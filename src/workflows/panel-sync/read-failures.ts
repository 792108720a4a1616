/** What a failure while reading means: which activity failed why, at which page, and at which step the run ends. */
import { ActivityFailure, ApplicationFailure } from '@temporalio/workflow';
import type { SourceRef } from '../../domain/sync/source-ref.ts';

/** What an activity failed with, if it said so itself. */
function failureOf(error: unknown): ApplicationFailure | undefined {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  return cause instanceof ApplicationFailure ? cause : undefined;
}

/** The code of an activity's failure. */
export const failureType = (error: unknown): string | undefined => failureOf(error)?.type ?? undefined;

/** The public sentence of an activity's failure. */
export const failureMessage = (error: unknown): string | undefined => failureOf(error)?.message;

/** Page at which a batch failed, when the failure is one that a fallback may avoid. */
export function failedPage(error: unknown): number | undefined {
  const failure = failureOf(error);
  if (failure?.type !== 'PANEL_UNAVAILABLE') return undefined;
  const [detail] = failure.details ?? [];
  if (typeof detail !== 'object' || detail === null || !('page' in detail) || !('fallback' in detail)) return undefined;
  return detail.fallback === true && typeof detail.page === 'number' ? detail.page : undefined;
}

/** The error that ended the reading, and the step at which it did. */
export class ReadFailed extends Error {
  readonly error: unknown;
  readonly step: string;
  constructor(error: unknown, step: string) {
    super('a source could not be read');
    this.error = error;
    this.step = step;
  }
}

/** The step of the HTTP API at which a source is read. */
export function stepOf(source: SourceRef): string {
  switch (source.kind) {
    case 'listing':
      return source.listing;
    case 'node':
      return 'nodes';
    case 'nest':
      return 'nests';
    case 'client':
      return 'subusers';
  }
}
