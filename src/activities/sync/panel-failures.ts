/**
 * What a failure of the panel means for a run. A fallback costs many requests and loses what cannot be read, so it is
 * chosen only while the panel serves something else: otherwise the panel is out of order, and is given time.
 */
import { ApplicationFailure } from '@temporalio/common';
import type { PanelClient } from '../../clients/panel/client.ts';
import { type AppError, isAppError } from '../../domain/errors.ts';
import { isListing, type SourceRef } from '../../domain/sync/source-ref.ts';
import type { Listing } from '../../domain/sync/targets.ts';

/** Why a batch ended before its last page; null = it did not. */
export type Stopped = { kind: 'throttled'; retryAfterMs: number } | { kind: 'cancelled' } | null;

/** A 429 of the panel as the end of a batch. The pause is 60 s where the panel names none. */
export const throttled = (error: AppError): Stopped => ({
  kind: 'throttled',
  retryAfterMs: error.retryAfterMs ?? 60_000,
});

/**
 * Attempts after which a failure is final: of a page that may have a fallback, and of an outage. A part of a page that has
 * failed already is not tried again.
 */
export const FINAL_ATTEMPT = { fallback: 3, part: 1, outage: 8 };

/** Details of a final failure for the workflow: the page, and whether a fallback may avoid it. */
export interface PanelFailureDetail {
  page: number;
  fallback: boolean;
}

const final = (message: string, detail: PanelFailureDetail): ApplicationFailure =>
  ApplicationFailure.create({ type: 'PANEL_UNAVAILABLE', message, nonRetryable: true, details: [detail] });

/** The error to throw for an outage: that of the panel, until it lasts too long. */
export function panelFailure(error: unknown, attempt: number, page: number): unknown {
  if (!isAppError(error, 'PANEL_UNAVAILABLE') || attempt < FINAL_ATTEMPT.outage) return error;
  return final(error.message, { page, fallback: false });
}

/** The error to throw for a page that the panel cannot serve while it serves others. */
export const brokenPage = (message: string, page: number): ApplicationFailure =>
  final(message, { page, fallback: true });

/**
 * Whether a smaller request may succeed where this one failed: the answer was too large or too slow, or the panel or a
 * gateway failed in the middle of it. Gateways have statuses of their own for that: 520, 522, 524 and others. 503 is
 * maintenance.
 */
export function mayBeBroken(error: unknown): error is AppError {
  if (!isAppError(error, 'PANEL_UNAVAILABLE')) return false;
  const { status, kind } = error.meta ?? {};
  if (kind === 'timeout' || isTooLarge(error)) return true;
  return typeof status === 'number' && status >= 500 && status !== 503;
}

/** An answer above the limit of {@link PanelClient}: it is no outage, and the same request gives the same answer. */
export const isTooLarge = (error: unknown): boolean =>
  isAppError(error, 'PANEL_UNAVAILABLE') && error.meta?.['kind'] === 'too-large';

/** Listings of which one record is requested to learn whether the panel answers. */
const PROBES: readonly Listing[] = ['users', 'servers', 'locations'];
/** A panel that takes longer for one record is in trouble, milliseconds. */
const PROBE_TIMEOUT_MS = 10_000;

/** Whether the panel itself answers requests other than those for a source. A refusal is an answer. */
export async function answersOtherwise(client: PanelClient, source: SourceRef, signal: AbortSignal): Promise<boolean> {
  const within = AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]);
  const ask = async (listing: Listing) => {
    try {
      await client.list(`/${listing}`, { page: 1, perPage: 1 }, { signal: within });
    } catch (error) {
      if (!isAppError(error) || error.code === 'PANEL_UNAVAILABLE') throw error;
    }
  };
  return Promise.any(PROBES.filter((listing) => !isListing(source, listing)).map(ask)).then(
    () => true,
    () => false,
  );
}
