/** By what a run knows its panel, and that it ends when the settings name another one. */
import { expect, test } from 'vitest';
import { panelOfRun } from '../../../src/activities/sync/panel-of-run.ts';
import type { PanelClient } from '../../../src/clients/panel/client.ts';
import { Secret } from '../../../src/domain/secret.ts';
import type { RuntimeSettings } from '../../../src/services/settings/runtime-settings.ts';
import { panelFingerprint } from '../../../src/services/sync/panel-fingerprint.ts';

const SETTINGS = {
  panelUrl: 'https://panel.example.net',
  panelApiKey: new Secret('ptla_application-key'),
  panelClientApiKey: new Secret('ptlc_client-key'),
};

test('the fingerprint changes with the address and with each key, and holds nothing of them', () => {
  const known = panelFingerprint(SETTINGS);
  expect(known).toMatch(/^[0-9a-f]{16}$/);
  expect(panelFingerprint({ ...SETTINGS })).toBe(known);
  const { panelClientApiKey: _, ...withoutClientKey } = SETTINGS;
  const others = [
    { ...SETTINGS, panelUrl: 'https://other.example.net' },
    { ...SETTINGS, panelApiKey: new Secret('ptla_rotated') },
    { ...SETTINGS, panelClientApiKey: new Secret('ptlc_rotated') },
    withoutClientKey,
  ].map(panelFingerprint);
  expect(new Set([known, ...others]).size).toBe(5);
});

test('an activity gets the panel of its run, and none once the settings have changed', async () => {
  const client = { list: undefined } as unknown as PanelClient;
  let settings: Partial<RuntimeSettings> = SETTINGS;
  const deps = { panel: async () => client, settings: async () => settings as RuntimeSettings };
  const expected = panelFingerprint(SETTINGS);
  expect(await panelOfRun(deps, expected)).toBe(client);
  settings = { ...SETTINGS, panelApiKey: new Secret('ptla_rotated') };
  await expect(panelOfRun(deps, expected)).rejects.toMatchObject({
    code: 'PANEL_CHANGED',
    message: 'The settings of the panel were changed during the sync; start it again',
  });
});
