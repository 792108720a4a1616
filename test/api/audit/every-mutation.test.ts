/**
 * Walks all routes and all commands: each that changes something records it, in the transaction of the change, and none
 * shows a secret. The recipes are in test/support/mutations.
 */
import { Readable, Writable } from 'node:stream';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { routes } from '../../../src/api/routes/index.ts';
import { GROUPS } from '../../../src/cli.ts';
import { AUDIT_ACTIONS } from '../../../src/domain/audit.ts';
import { SENSITIVE_SETTINGS } from '../../../src/domain/settings.ts';
import { query } from '../../../src/store/db/query.ts';
import { API_KEY, bearer, ENCRYPTION_KEY, JWT_SECRET, NEXTAUTH_SECRET } from '../../support/api/harness.ts';
import { type Call, COMMANDS, type CommandRecipe } from '../../support/mutations/commands.ts';
import { fillWithMarkers } from '../../support/mutations/reads.ts';
import { CUSTOMERS, ROUTES } from '../../support/mutations/routes.ts';
import {
  createWorld,
  eventsSince,
  lastEvent,
  type Refusal,
  refusing,
  send,
  stateOf,
  type World,
} from '../../support/mutations/world.ts';
import { createTestNamespace } from '../../support/temporal.ts';

const CUSTOMER_AUTH = ['public', 'user', 'apiKeyOrUser'];
const changing = routes.filter(
  ({ method, audit }) => method !== 'get' || (audit !== undefined && typeof audit === 'string'),
);
const administered = changing.filter(({ auth, audit }) => audit !== undefined || !CUSTOMER_AUTH.includes(auth));
const reading = routes.filter((route) => !changing.includes(route));

let world: World;
let namespace: string;
beforeAll(async () => {
  [world, namespace] = await Promise.all([createWorld(), createTestNamespace('audit')]);
  for (const setting of SENSITIVE_SETTINGS) {
    await world.harness.deps.settings.save({ [setting]: `marker-${setting}` }, { enteredBy: 'user' });
  }
});
afterAll(() => world.close());

/** What is refused to a recipe, one at a time; what keeps its state has nothing to commit. */
const refusalsOf = ({ keepsState }: { keepsState?: string }): readonly Refusal[] =>
  keepsState === undefined ? ['event', 'commit'] : ['event'];

describe('every route that changes something', () => {
  test('is declared with its event, and has a recipe', () => {
    const undeclared = administered.filter(({ audit }) => audit === undefined).map(({ operationId }) => operationId);
    expect(undeclared, 'give these routes `audit`: the event of their change, or why there is none').toEqual([]);
    const without = administered.filter(({ operationId }) => ROUTES[operationId] === undefined);
    expect(
      without.map(({ operationId }) => operationId),
      'give these routes a recipe in test/support/mutations/routes.ts',
    ).toEqual([]);
    const customers = changing.filter((route) => !administered.includes(route)).map(({ operationId }) => operationId);
    expect(Object.keys(CUSTOMERS).toSorted(), 'list these routes in CUSTOMERS, with their event').toEqual(
      customers.toSorted(),
    );
    for (const event of Object.values(CUSTOMERS)) {
      if (!event.startsWith('none: ')) expect(AUDIT_ACTIONS).toContain(event);
    }
  });

  test.each(administered.map((route) => [`${route.method} ${route.path}`, route] as const))(
    '%s',
    async (_name, route) => {
      const recipe = ROUTES[route.operationId];
      if (recipe === undefined)
        throw new Error(`${route.operationId} has no recipe in test/support/mutations/routes.ts`);
      const request = await recipe.prepare(world);
      const before = await stateOf(world.database);
      const [started, reconciled] = [world.started.length, world.harness.reconciled.length];
      const actor = request.headers === undefined ? ['user', world.admin.id] : ['apiKey', null];

      if (typeof route.audit === 'object') {
        const mark = await lastEvent(world.database);
        expect((await send(world, request)).status).toBeLessThan(300);
        const after = await stateOf(world.database);
        const changed = Object.keys(after).filter((table) => after[table] !== before[table]);
        expect(changed.toSorted()).toEqual((recipe.receives ?? []).toSorted());
        expect(await eventsSince(world.database, mark)).toEqual([]);
        return;
      }

      // Event and change are one transaction: without one, nothing of the other is kept.
      const mark = await lastEvent(world.database);
      for (const refusal of refusalsOf(recipe)) {
        const failed = await refusing(world.database, refusal, () => send(world, request));
        expect({ refusal, failed: failed.status >= 500 }).toEqual({ refusal, failed: true });
        expect(await stateOf(world.database)).toEqual(before);
        expect(await eventsSince(world.database, mark)).toEqual([]);
        expect([world.started.length, world.harness.reconciled.length]).toEqual([started, reconciled]);
      }

      const answer = await send(world, request);
      expect([answer.status < 300, answer.status], await answer.text()).toEqual([true, answer.status]);
      const expected = {
        action: route.audit,
        outcome: 'success',
        actorType: actor[0],
        actorId: actor[1],
        network: expect.stringMatching(/^[\w-]{22}$/),
        requestId: answer.headers.get('x-request-id'),
      };
      expect(await eventsSince(world.database, mark)).toEqual([expected]);
      const after = await stateOf(world.database);
      if (recipe.keepsState === undefined) expect(after).not.toEqual(before);
      else expect(after).toEqual(before);

      // The same request once more changes nothing, and records nothing.
      const repeated = await lastEvent(world.database);
      await send(world, request);
      expect(await eventsSince(world.database, repeated)).toHaveLength(recipe.repeats === undefined ? 0 : 1);
    },
  );
});

/** The names of all commands, e.g. `db migrate`. */
async function commandNames(): Promise<string[]> {
  const program = new Command('nodebyte');
  for (const group of GROUPS) await group.register(program);
  const names = (command: Command, path: readonly string[]): string[] =>
    command.commands.length === 0
      ? [path.join(' ')]
      : command.commands.flatMap((one) => names(one, [...path, one.name()]));
  return names(program, []);
}

const output = (lines: string[]): Writable =>
  new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });

/** Runs a command in this process. @returns its exit code and what it wrote. */
async function runCommand(name: string, call: Call): Promise<{ code: number; text: string }> {
  const words = name.split(' ');
  const group = GROUPS.find((one) => one.name === words[0]);
  if (group === undefined) throw new Error(`no command ${name}`);
  const program = new Command('nodebyte').exitOverride();
  const lines: string[] = [];
  const env = {
    DATABASE_URL: (call.database ?? world.database).url,
    ENCRYPTION_KEY,
    JWT_SECRET,
    PATH: process.env['PATH'],
    ...call.env,
  };
  await group.register(program, { stdin: Readable.from([]), stdout: output(lines), stderr: output(lines), env });
  await program.parseAsync([...words, ...call.args], { from: 'user' });
  const code = Number(process.exitCode ?? 0);
  process.exitCode = 0;
  world.answers.push(`${name} ${lines.join('')}`);
  return { code, text: lines.join('') };
}

describe('every command', () => {
  test('is known: it reads, or there is a recipe', async () => {
    expect(
      Object.keys(COMMANDS).toSorted(),
      'list these commands in test/support/mutations/commands.ts, with their events or why they change nothing',
    ).toEqual((await commandNames()).toSorted());
  });

  const recipes = Object.entries(COMMANDS).filter((entry): entry is [string, CommandRecipe] => 'events' in entry[1]);
  test.each(recipes)('%s', async (name, recipe) => {
    const call = await recipe.prepare(world, namespace);
    const database = call.database ?? world.database;
    const before = await stateOf(database);
    const mark = await lastEvent(database);
    for (const refusal of refusalsOf(recipe)) {
      const failed = await refusing(database, refusal, () => runCommand(name, call));
      expect([failed.code, failed.text]).toEqual([1, expect.stringContaining(`refused: the ${refusal}`)]);
      expect(await stateOf(database)).toEqual(before);
      expect(await eventsSince(database, mark)).toEqual([]);
    }

    const done = await runCommand(name, call);
    expect([done.code, done.text]).toEqual([0, expect.any(String)]);
    const events = await eventsSince(database, mark);
    const cli = { outcome: 'success', actorType: 'cli', actorId: null, network: null, requestId: null };
    expect(events).toEqual(recipe.events.map((action) => ({ action, ...cli })));
    const after = await stateOf(database);
    if (recipe.keepsState === undefined) expect(after).not.toEqual(before);
    else expect(after).toEqual(before);

    const repeated = await lastEvent(database);
    await runCommand(name, call);
    expect((await eventsSince(database, repeated)).length > 0).toBe(recipe.repeats !== undefined);
  });
});

describe('no secret leaves', () => {
  /** What is kept from everybody: the markers, and the keys of the service itself. */
  const secretsIn = (text: string): string[] => [
    ...new Set([
      ...(text.match(/marker-[\w-]*/g) ?? []),
      ...[API_KEY, JWT_SECRET, NEXTAUTH_SECRET, ENCRYPTION_KEY].filter((secret) => text.includes(secret)),
    ]),
  ];

  test('by a route that reads, and reading changes nothing', async () => {
    const paths = await fillWithMarkers(world);
    const before = await stateOf(world.database);
    for (const route of reading) {
      const path = paths[route.operationId] ?? route.path;
      expect(path, `give ${route.operationId} its path in test/support/mutations/reads.ts`).not.toContain(':');
      const headers = route.auth === 'apiKeyOrAdmin' ? { 'X-API-Key': API_KEY } : bearer(world.admin.token);
      const answer = await send(world, { method: 'get', path, headers });
      const text = await answer.text();
      expect({ path, status: answer.status, secrets: secretsIn(text) }).toEqual({ path, status: 200, secrets: [] });
    }
    expect(await stateOf(world.database)).toEqual(before);
  });

  test('by an answer to a change, a command, an event or the log', async () => {
    for (const answer of world.answers) expect(secretsIn(answer), answer.slice(0, 200)).toEqual([]);
    const events = await query(world.database.db, 'select a.* from audit_events a');
    expect(events.length).toBeGreaterThan(20);
    expect(secretsIn(JSON.stringify(events))).toEqual([]);
    expect(JSON.stringify(events)).not.toMatch(/@example\.com/);
    expect(secretsIn(world.harness.logged())).toEqual([]);
  });
});
