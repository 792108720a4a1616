/** The workflows of Hytale in a real Temporal: who starts, asks, cancels and loses them, and what their histories hold. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HytaleSimulator } from '../../../simulators/hytale/contract.ts';
import { startHytaleSimulator } from '../../../simulators/hytale/simulator.ts';
import { createHytaleClient } from '../../../src/clients/hytale/client.ts';
import { createTokenVerifier } from '../../../src/clients/hytale/token-verifier.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { createHytale } from '../../../src/services/hytale/create-hytale.ts';
import type { HytaleDeps } from '../../../src/services/hytale/deps.ts';
import type { Hytale, Requester } from '../../../src/services/hytale/hytale.ts';
import { watchHytale } from '../../../src/services/hytale/watch.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { query } from '../../../src/store/db/query.ts';
import { createHytaleEngine, type HytaleEngine } from '../../../src/temporal/hytale-engine.ts';
import { HYTALE_QUERY, type HytaleView, hytaleAccountId, hytaleSessionId } from '../../../src/workflows/contract.ts';
import { allHistories, textOf } from '../../support/histories.ts';
import { signIn } from '../../support/hytale/schedules.ts';
import { quiet, type Stack, startStack } from '../../support/stack.ts';

let stack: Stack;
let sim: HytaleSimulator;
let hytale: Hytale;
let engine: HytaleEngine;
let deps: HytaleDeps;
let account: string;
const encryption = createEncryption({ key: new Secret(Buffer.alloc(32, 3).toString('base64')) });
const WHO: Requester = { by: { actor: { type: 'cli' } }, ipAddress: '192.0.2.7', userAgent: 'test' };

beforeAll(async () => {
  sim = await startHytaleSimulator();
  const client = createHytaleClient({ hosts: sim.hosts, timeoutMs: 5_000 });
  const verifier = createTokenVerifier({ sessionsBase: sim.hosts.sessions, issuer: sim.issuer });
  const common = { encryption, client, verifier, environment: 'production', now: () => sim.now() } as const;
  stack = await startStack({
    panel: { servers: 2, users: 2, allocations: 4, databases: 0, subusers: 0 },
    hytale: ({ gateway }) => ({
      ...common,
      engine: createHytaleEngine(gateway),
      sessionLimit: 100,
      random: Math.random,
      trace: (_about, work) => work(),
      variables: { session: [], identity: [] },
    }),
  });
  engine = createHytaleEngine(stack.gateway);
  const { db } = stack.database;
  deps = { ...common, db, sessionLimit: 100, random: Math.random, log: quiet, wake: engine.wake };
  hytale = createHytale({ ...common, db, log: quiet, engine });
  account = sim.addAccount({}).id;
  await signIn({ id: account, sim, deps, lost: new Set() });
});
afterAll(async () => {
  await stack?.stop();
  await deps?.client.close();
  await sim?.close();
});

const rows = <T>(sql: string, bindings: unknown[] = []): Promise<T[]> => query<T>(stack.database.db, sql, bindings);
const spends = (): number => sim.refreshTokens(account).filter(({ spent }) => spent > 0).length;

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let n = 0; n < 400; n += 1) {
    if (await condition()) return;
    await delay(25);
  }
  throw new Error('it does not come to that');
}

test('callers at the same time get what one refresh brought', async () => {
  const before = spends();
  const answers = await Promise.all(Array.from({ length: 5 }, () => hytale.refreshAccount(account, WHO)));
  expect(new Set(answers.map(({ accessToken }) => accessToken.reveal())).size).toBe(1);
  expect(spends() - before).toBe(1);
});

test('a session is created, renewed at once for several callers, replaced, and ended', async () => {
  const pair = await hytale.newSession({ accountId: account }, WHO);
  expect(pair.sessionToken.reveal().split('.')).toHaveLength(3);
  const view = await stack.gateway.client.workflow
    .getHandle(hytaleSessionId(pair.sessionId))
    .query<HytaleView>(HYTALE_QUERY);
  expect(view).toMatchObject({ id: pair.sessionId, status: 'active', version: 1 });
  await Promise.all([1, 2, 3].map(() => hytale.refreshSession({ accountId: account }, WHO)));
  expect(sim.requests('session-refresh')).toHaveLength(1);
  // The same request again is a fresh pair of the same session.
  const again = await hytale.newSession({ accountId: account }, WHO);
  expect(again.sessionId).toBe(pair.sessionId);
  expect(again.sessionToken.reveal()).not.toBe(pair.sessionToken.reveal());
  await hytale.endSession({ accountId: account }, WHO);
  expect(await rows('select 1 from hytale_game_sessions')).toEqual([]);
  expect(sim.requests('session-end').filter(({ done }) => done)).not.toEqual([]);
  await expect(hytale.endSession({ accountId: account }, WHO)).rejects.toMatchObject({ code: 'SESSION_NOT_FOUND' });
});

test('a refused access token is renewed once, through the workflow of the account', async () => {
  const before = spends();
  sim.fault('session-new', { kind: 'answer', status: 401, body: 'invalid token', type: 'text/plain' });
  const pair = await hytale.newSession({ accountId: account }, WHO);
  expect(spends() - before).toBe(1);
  // Refused with fresh tokens too: a person must sign in, and nothing goes on asking.
  sim.fault('session-new', { kind: 'answer', status: 403, body: 'invalid token', type: 'text/plain' }, { times: 10 });
  await expect(hytale.newSession({ accountId: account }, WHO)).rejects.toMatchObject({ code: 'REAUTH_REQUIRED' });
  sim.clearFaults();
  expect(spends() - before).toBe(2);
  expect(await rows('select status from hytale_oauth_tokens')).toEqual([{ status: 'reauth_required' }]);
  await expect(hytale.refreshAccount(account, WHO)).rejects.toMatchObject({ code: 'REAUTH_REQUIRED' });
  expect(spends() - before).toBe(2);
  await signIn({ id: account, sim, deps, lost: new Set() });
  await hytale.refreshAccount(account, WHO);
  expect(pair.sessionId).toBe((await hytale.newSession({ accountId: account }, WHO)).sessionId);
});

test('what Temporal lost, or somebody ended there, is taken up again', async () => {
  const { client } = stack.gateway;
  await client.workflow.getHandle(hytaleAccountId(account)).terminate('lost');
  // The row of an adopted database: tokens in clear, no environment, a profile of another session.
  const other = sim.addAccount({}).id;
  await signIn({ id: other, sim, deps: { ...deps, encryption: createEncryption({}) }, lost: new Set() });
  await client.workflow.getHandle(hytaleAccountId(other)).terminate('adopted');
  await rows('update hytale_oauth_tokens set environment = null, next_at = null where account_id = ?', [other]);
  await until(async () => !(await engine.running()).has(hytaleAccountId(other)));
  const watched = { db: stack.database.db, environment: 'production', engine, log: quiet } as const;
  expect(await watchHytale(watched)).toMatchObject({ taken: 1, accounts: 2 });
  await until(async () => (await engine.running()).has(hytaleAccountId(other)));
  expect(await watchHytale(watched)).toMatchObject({ taken: 0, accounts: 0, sessions: 0 });
  await hytale.refreshAccount(other, WHO);
  expect(
    await rows('select 1 from hytale_oauth_tokens where account_id = ? and next_at > now()', [other]),
  ).toHaveLength(1);
});

test('a session whose workflow is cancelled in Temporal ends', async () => {
  const { sessionId } = await hytale.newSession({ accountId: account }, WHO);
  await stack.gateway.client.workflow.getHandle(hytaleSessionId(sessionId)).cancel();
  await until(async () => (await rows('select 1 from hytale_game_sessions where id = ?', [sessionId])).length === 0);
  expect(sim.live(account)).toEqual([]);
});

test('a disconnected account has no sessions and no tokens any more', async () => {
  await hytale.newSession({ accountId: account }, WHO);
  await hytale.disconnect(account, WHO);
  await until(
    async () => (await rows('select 1 from hytale_oauth_tokens where account_id = ?', [account])).length === 0,
  );
  expect(sim.live(account)).toEqual([]);
  await expect(hytale.refreshAccount(account, WHO)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const events = await rows<{ event: string }>('select distinct event_type as event from hytale_audit_logs order by 1');
  expect(events.map(({ event }) => event)).toEqual([
    'AUTH_FAILED',
    'PROFILE_SELECTED',
    'SESSION_CREATED',
    'SESSION_DELETED',
    'SESSION_REFRESHED',
    'TOKEN_CREATED',
    'TOKEN_DELETED',
    'TOKEN_REFRESHED',
  ]);
});

test('no token is in a history, in the audits, or in clear in the database', async () => {
  const histories = (await allHistories(stack.gateway.client)).map(textOf).join('\n');
  const tables = ['hytale_audit_logs', 'audit_events', 'outbox', 'hytale_logins', 'hytale_game_sessions'];
  const stored = await Promise.all(
    tables.map((table) => rows('select row_to_json(t)::text as row from ?? t', [table])),
  );
  const text = histories + JSON.stringify(stored);
  expect(sim.secrets().length).toBeGreaterThan(20);
  expect(sim.secrets().filter((secret) => text.includes(secret))).toEqual([]);
});
