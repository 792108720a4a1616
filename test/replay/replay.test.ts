/** Recorded histories, run through today's workflow code: what is in flight at an upgrade must go on. */
import { readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { beforeAll, describe, expect, test } from 'vitest';
import { cacheFolder } from '../../src/embedded/folders.ts';
import { workflowBundle } from '../../src/temporal/bundle.ts';

const FOLDER = new URL('histories/', import.meta.url);
const names = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.json'))
  .map((file) => file.replace(/\.json$/, ''));
const textOf = (name: string) => readFileSync(new URL(`${name}.json`, FOLDER), 'utf8');

let codePath: string;
beforeAll(async () => {
  Runtime.install({ shutdownSignals: [], logger: new DefaultLogger('ERROR', () => undefined) });
  codePath = await workflowBundle(cacheFolder(process.env['CACHE_DIR'] || undefined));
});

/** Error of a replay; undefined when it went through. */
async function replay(name: string, change: (history: string) => string = (history) => history): Promise<unknown> {
  const workflowId = /^panel-sync/.test(name) ? 'panel-sync' : name;
  const history = historyFromJSON(JSON.parse(change(textOf(name))));
  for await (const result of Worker.runReplayHistories({ workflowBundle: { codePath } }, [{ workflowId, history }])) {
    if (result.error !== undefined) return result.error;
  }
  return undefined;
}

describe('replay', () => {
  test('every kind of end is there', () => {
    expect(names).toEqual(
      expect.arrayContaining([
        'deliver-webhook-cancelled',
        'deliver-webhook-delivered',
        'deliver-webhook-failed',
        'deliver-webhook-retried',
        'hytale-account-continued',
        'hytale-account-disconnected',
        'hytale-account-signed-in-again',
        'hytale-login-cancelled',
        'hytale-login-completed',
        'hytale-login-denied',
        'hytale-session-cancelled',
        'hytale-session-lapsed',
        'hytale-session-limited',
        'hytale-session-pushed',
        'live-mirror-ended',
        'maintenance-expired-data',
        'maintenance-hytale-logs',
        'maintenance-retention',
        'maintenance-sync-watch',
        'panel-sync-cancelled',
        'panel-sync-completed',
        'panel-sync-failed',
        'panel-sync-fallbacks',
        'panel-sync-pruned',
        'panel-sync-reset',
        'panel-sync-throttled',
        'scheduled-sync',
        'send-email-cancelled',
        'send-email-failed',
        'send-email-retried',
        'send-email-sent',
      ]),
    );
  });

  test.each(names)('%s', async (name) => {
    expect(await replay(name)).toBeUndefined();
  });

  test('would see a workflow that asks for something else', async () => {
    const error = await replay('panel-sync-completed', (history) => history.replaceAll('"closeRun"', '"endRun"'));
    expect(error).toBeInstanceOf(Error);
  });

  test('contain only the id of an email and of a delivery', () => {
    const checked = names.filter((name) => /^(send-email|deliver-webhook)/.test(name));
    expect(checked).toHaveLength(8);
    for (const name of checked) {
      // Payloads are base64 in the file.
      const payloads = [...textOf(name).matchAll(/"data": "([^"]*)"/g)].map((match) =>
        Buffer.from(match[1] ?? '', 'base64').toString('utf8'),
      );
      expect(payloads.length).toBeGreaterThan(1);
      for (const payload of payloads) expect(payload).not.toMatch(/[0-9a-f]{64}/);
      for (const text of [textOf(name), ...payloads])
        expect(text).not.toMatch(/customer-of|token-of|@[a-z-]+\.example/);
    }
  });

  test('contain no token or code of Hytale', () => {
    const checked = names.filter((name) => name.startsWith('hytale-'));
    expect(checked.length).toBeGreaterThanOrEqual(10);
    for (const name of checked) {
      const payloads = [...textOf(name).matchAll(/"data": "([^"]*)"/g)].map((match) =>
        Buffer.from(match[1] ?? '', 'base64').toString('utf8'),
      );
      expect(payloads.length).toBeGreaterThan(1);
      for (const payload of payloads) expect(payload).not.toMatch(/ory_|eyJ[\w-]+\.|Bearer/);
      expect(textOf(name)).not.toMatch(/ory_|Bearer/);
    }
  });

  test('nothing of the machine that recorded them is in them', () => {
    for (const name of names) {
      expect(textOf(name)).not.toMatch(/stackTrace|\/home\/|\/root\/|node_modules/);
      expect(textOf(name)).not.toContain(`@${hostname()}`);
    }
  });
});
