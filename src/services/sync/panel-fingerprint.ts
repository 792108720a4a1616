/**
 * By what a run knows its panel: the address and the keys. Two panels use the same ids, so a run that went on after a change
 * of the settings would mix both into one mirror.
 */
import { createHash } from 'node:crypto';
import { AppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';

interface PanelIdentity {
  panelUrl?: string;
  panelApiKey?: Secret;
  panelClientApiKey?: Secret;
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const digest = (key: Secret | undefined): string => (key === undefined ? '' : sha256(key.reveal()));

/** 16 hex characters of a hash over the address and a digest of each key: no key can be read from it. */
export const panelFingerprint = ({ panelUrl, panelApiKey, panelClientApiKey }: PanelIdentity): string =>
  sha256([panelUrl ?? '', digest(panelApiKey), digest(panelClientApiKey)].join('\n')).slice(0, 16);

/**
 * Checks that the settings are still those with which a run was opened. A key that was rotated counts as a change, too:
 * nothing tells it from the key of another panel.
 * @throws {AppError} PANEL_CHANGED
 */
export function requireSamePanel(settings: PanelIdentity, expected: string): void {
  if (panelFingerprint(settings) === expected) return;
  throw new AppError('PANEL_CHANGED', {
    publicMessage: 'The settings of the panel were changed during the sync; start it again',
  });
}
