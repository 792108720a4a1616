import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { afterEach, describe, expect, it } from 'vitest';
import { registerDbCommands } from '../../../src/cli/db/db.ts';
import { makeMigration } from '../../../src/cli/db/make.ts';
import { readMenu } from '../../../src/cli/db/migrate.ts';
import type { FindEmbedded } from '../../../src/cli/support/database.ts';
import { findUnit, UNITS, withRequired } from '../../../src/store/db/migrations.ts';

interface Outcome {
  stdout: string;
  stderr: string;
  code: number;
}

async function run(
  args: readonly string[],
  env: Record<string, string> = {},
  embedded: FindEmbedded = async () => undefined,
): Promise<Outcome> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  stdin.end();
  const program = new Command();
  registerDbCommands(program, { embedded, io: { stdin, stdout, stderr, env } });
  await program.parseAsync(['db', ...args], { from: 'user' });
  stdout.end();
  stderr.end();
  const code = Number(process.exitCode ?? 0);
  process.exitCode = 0;
  return { stdout: await text(stdout), stderr: await text(stderr), code };
}
afterEach(() => {
  process.exitCode = 0;
});

describe('db without a database URL', () => {
  it.each(['init', 'migrate', 'reset', 'rollback'])('%s fails with a message', async (command) => {
    const outcome = await run([command]);
    expect(outcome).toEqual({ stdout: '', stderr: 'error: no database URL provided\n', code: 1 });
    const json = await run([command, '--json']);
    expect(JSON.parse(json.stdout)).toEqual({ error: 'no database URL provided' });
    expect(json.code).toBe(1);
  });

  it('list prints the numbered names of the units', async () => {
    const { stdout, stderr, code } = await run(['list']);
    expect(stdout.trimEnd().split('\n')).toEqual(
      UNITS.map((unit) => `${String(unit.number).padStart(3)}  ${unit.name}`),
    );
    expect(stderr).toContain('no database URL provided');
    expect(code).toBe(0);
  });

  it('uses the embedded database, and releases it also when the command fails', async () => {
    const calls: string[] = [];
    const embedded: FindEmbedded = async () => {
      calls.push('find');
      return { url: 'postgres://x@127.0.0.1:1/x', release: async () => void calls.push('release') };
    };
    const { stderr, code } = await run(['migrate'], {}, embedded);
    expect(stderr).toMatch(/ECONNREFUSED/);
    expect(code).toBe(1);
    expect(calls).toEqual(['find', 'release']);
    await run(['migrate'], { DATABASE_URL: 'postgres://x@127.0.0.1:1/x' }, embedded);
    expect(calls).toHaveLength(2);
  });
});

describe('db refuses', () => {
  it('an unknown unit, without connecting', async () => {
    const env = { DATABASE_URL: 'postgres://x@127.0.0.1:1/x' };
    expect(await run(['migrate', '16'], env)).toMatchObject({ stderr: 'error: no such schema unit: 16\n', code: 1 });
    expect(await run(['migrate', '--schema', 'nope'], env)).toMatchObject({ code: 1 });
    expect(await run(['init', '--units', '1,x'], env)).toMatchObject({
      stderr: 'error: no such schema unit: x\n',
      code: 1,
    });
  });

  it('an invalid URL, without printing it', async () => {
    const { stdout, stderr, code } = await run(['migrate', '-d', 'mysql://u:hunter2@h/x']);
    expect(code).toBe(1);
    expect(stdout + stderr).not.toContain('hunter2');
  });

  it('a reset in production, and of the maintenance database', async () => {
    const url = 'postgres://u:hunter2@127.0.0.1:1/x';
    const production = await run(['reset', '--yes', '-d', url], { ENV: 'production' });
    expect(production).toMatchObject({ code: 1, stderr: expect.stringContaining('--force') });
    expect(await run(['rollback', '-d', url], { ENV: 'production' })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('--force'),
    });
    const maintenance = await run(['reset', '--yes', '-d', 'postgres://u@127.0.0.1:1/postgres']);
    expect(maintenance).toMatchObject({ code: 1, stderr: expect.stringContaining('"postgres"') });
    const wrong = await run(['reset', '-d', url]);
    expect(wrong).toMatchObject({ code: 0, stdout: expect.stringContaining('nothing done') });
  });
});

describe('units', () => {
  it.each([
    '3',
    '03',
    'schema_03_servers',
    '03_servers',
    'servers',
    'schema_03_servers.sql',
    'schemas/schema_03_servers.sql',
    UNITS[2]?.file ?? '',
  ])('are found as %s', (selector) => {
    expect(findUnit(selector).number).toBe(3);
  });

  it('are applied with their required units, in order', () => {
    expect(withRequired(['4']).map((unit) => unit.number)).toEqual([1, 2, 3, 4]);
    expect(withRequired(['hytale_server_link', '1']).map((unit) => unit.number)).toEqual([1, 2, 3, 9, 13]);
    for (const unit of UNITS) for (const needed of unit.requires) expect(needed).toBeLessThan(unit.number);
  });
});

describe('the menu', () => {
  it.each([
    ['', { units: 'all', invalid: [] }],
    ['0', { units: 'none', invalid: [] }],
    ['1, 3', { units: ['1', '3'], invalid: [] }],
    ['1,99,x', { units: ['1'], invalid: ['99', 'x'] }],
    ['99', { units: 'none', invalid: ['99'] }],
  ])('reads "%s"', (answer, expected) => {
    expect(readMenu(answer)).toEqual(expected);
  });
});

describe('db make', () => {
  it('writes a migration file, and refuses an existing name and a path', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'make-'));
    try {
      const now = new Date('2027-02-03T04:05:06Z');
      const file = await makeMigration('Add user-names', now, folder);
      expect(file).toBe('20270203040506_add_user_names.ts');
      const content = await readFile(join(folder, file), 'utf8');
      expect(content).toMatch(/^import type { Knex } from 'knex';$/m);
      expect(content).toContain('export async function down');
      await expect(makeMigration('add_user_names', now, folder)).rejects.toMatchObject({ code: 'CONFLICT' });
      await expect(makeMigration('../x', now, folder)).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
