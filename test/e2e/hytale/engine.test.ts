/** The workflows of Hytale in a real Temporal: who starts, asks, cancels and loses them, and what their histories hold. */
import { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HytaleSimulator } from '../../../simulators/hytale/contract.ts';
import { startHytaleSimulator } from '../../../simulators/hytale/simulator.ts';
import { registerHytaleCommands } from '../../../src/cli/hytale.ts';
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
import { API_KEY, startHarness } from '../../support/api/harness.ts';
import { allHistories, textOf } from '../../support/histories.ts';
import { signIn } from '../../support/hytale/schedules.ts';
import { quiet, type Stack, startStack } from '../../support/stack.ts';
import { temporalAddress } from '../../support/temporal.ts';

let stack: Stack;
let sim: HytaleSimulator;
let hytale: Hytale;
let engine: HytaleEngine;
let deps: HytaleDeps;
let account: string;
const ENCRYPTION_KEY = Buffer.alloc(32, 3).toString('base64');
const encryption = createEncryption({ key: new Secret(ENCRYPTION_KEY) });
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
  // At the limit of the account, too: the session that is replaced makes room.
  sim.setSessionLimit(1);
  const third = await hytale.newSession({ accountId: account }, WHO);
  expect(third.sessionToken.reveal()).not.toBe(again.sessionToken.reveal());
  sim.setSessionLimit(100);
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

/** Runs a command. @returns its exit code and what it wrote. */
async function command(args: string[], onText: (text: string) => void = () => undefined) {
  const written = { stdout: '', stderr: '' };
  const into = (name: keyof typeof written) =>
    new Writable({
      write(chunk, _encoding, done) {
        written[name] += String(chunk);
        onText(written[name]);
        done();
      },
    });
  const env = {
    DATABASE_URL: stack.database.url,
    ENCRYPTION_KEY,
    JWT_SECRET: 'a-secret-of-more-than-thirty-two-characters',
    TEMPORAL_ADDRESS: temporalAddress(),
    TEMPORAL_NAMESPACE: stack.namespace,
    HYTALE_OAUTH_BASE_URL: sim.hosts.oauth,
    HYTALE_ACCOUNT_DATA_BASE_URL: sim.hosts.accountData,
    HYTALE_SESSIONS_BASE_URL: sim.hosts.sessions,
    PATH: process.env['PATH'],
  };
  const program = new Command().exitOverride();
  registerHytaleCommands(program, { stdin: Readable.from([]), stdout: into('stdout'), stderr: into('stderr'), env });
  await program.parseAsync(['hytale', ...args], { from: 'user' });
  const code = Number(process.exitCode ?? 0);
  process.exitCode = 0;
  return { code, ...written };
}

test('the routes and the commands reach the workflows; no command shows a token', async () => {
  const api = await startHarness({ database: stack.database, deps: { hytale } });
  const post = async (path: string, body: object, method = 'POST') => {
    const headers = { 'X-API-Key': API_KEY, 'Content-Type': 'application/json' };
    const answer = await api.get(path, { method, headers, body: JSON.stringify(body) });
    return { status: answer.status, body: (await answer.json()) as unknown as Record<string, unknown> };
  };
  const { id: own, profiles } = sim.addAccount({});
  let approved = false;
  const login = command(['login', '--account', own, '--json'], (text) => {
    const code = /^code +(\S+)$/m.exec(text)?.[1];
    if (code !== undefined && !approved) sim.approve(code, own);
    approved ||= code !== undefined;
  });
  const other = sim.addAccount({}).id;
  const device = await post('/api/v1/hytale/oauth/device-code', { account_id: other });
  expect(device).toMatchObject({ status: 200, body: { success: true, expires_in: expect.any(Number) } });
  const poll = { account_id: other, device_code: device.body['device_code'] };
  expect((await post('/api/hytale/token-poll', poll)).status).toBe(202);
  expect((await post('/api/hytale/token-poll', { ...poll, account_id: own })).body['error']).toBe('invalid_grant');

  const signedIn = await login;
  expect(signedIn).toMatchObject({ code: 0, stderr: expect.stringContaining('open ') });
  expect(JSON.parse(signedIn.stdout)).toMatchObject({ status: 'completed', accountId: own });
  expect((await post('/api/hytale/profiles', { account_id: own })).body).toEqual({
    success: true,
    owner: own,
    profiles,
  });
  const choice = { account_id: own, profile_uuid: profiles[0]?.uuid };
  expect((await post('/api/hytale/select-profile', choice)).status).toBe(200);
  const made = await post('/api/hytale/game-session', { account_id: own });
  expect(made).toMatchObject({ status: 200, body: { session: { session_token: expect.any(String) } } });
  const { session_id: id = '' } = made.body['session'] as { session_id?: string };
  const commands = await Promise.all([
    command(['accounts', '--search', own, '--json']),
    command(['sessions', '--search', id]),
  ]);
  expect(JSON.parse(commands[0].stdout)).toMatchObject({ total: 1, accounts: [{ id: own, state: 'active' }] });
  expect(commands[1].stdout).toContain(id);
  const changed = [await command(['refresh', own]), await command(['renew', id]), await command(['end', id])];
  expect(changed.map(({ code, stderr }) => ({ code, stderr }))).toEqual(Array(3).fill({ code: 0, stderr: '' }));
  expect(await command(['end', id])).toMatchObject({ code: 1, stderr: expect.stringContaining('No game session') });
  expect(await command(['renew', 'x'])).toMatchObject({ code: 1, stderr: expect.stringContaining('no UUID') });
  const text = JSON.stringify([signedIn, commands, changed]) + api.logged();
  expect(sim.secrets().filter((secret) => text.includes(secret))).toEqual([]);
  await api.close();
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
