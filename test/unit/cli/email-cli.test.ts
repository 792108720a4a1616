import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { afterEach, describe, expect, it } from 'vitest';
import { registerEmailCommands } from '../../../src/cli/email.ts';
import { EMAIL_FIELDS, EMAIL_TEMPLATE_NAMES, EMAIL_TEMPLATES } from '../../../src/domain/email.ts';

interface Outcome {
  stdout: string;
  stderr: string;
  code: number;
}

async function preview(args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const program = new Command();
  registerEmailCommands(program, { stdout, stderr, env });
  await program.parseAsync(['email', 'preview', ...args], { from: 'user' });
  stdout.end();
  stderr.end();
  const code = Number(process.exitCode ?? 0);
  process.exitCode = 0;
  return { stdout: await text(stdout), stderr: await text(stderr), code };
}
afterEach(() => {
  process.exitCode = 0;
});

describe('email preview', () => {
  it('lists the templates, their other names and their data', async () => {
    const { stdout, stderr, code } = await preview([]);
    expect([stderr, code]).toEqual(['', 0]);
    for (const name of EMAIL_TEMPLATE_NAMES) expect(stdout).toContain(name);
    for (const { key } of EMAIL_TEMPLATES.flatMap((template) => EMAIL_FIELDS[template])) expect(stdout).toContain(key);
  });

  it.each(EMAIL_TEMPLATE_NAMES)('%s has complete sample data', async (name) => {
    const { stdout, stderr, code } = await preview([name]);
    expect([stderr, code]).toEqual(['', 0]);
    expect(stdout).toMatch(/^Subject: \S.*\n\nNodeByte\n/);
    expect(stdout).not.toContain('without a valid one');
    expect(stdout).toContain(`© ${new Date().getUTCFullYear()} NodeByte`);
  });

  it('prints each format', async () => {
    const json = JSON.parse((await preview(['verify-email', '--format', 'json'])).stdout);
    expect(Object.keys(json)).toEqual(['template', 'subject', 'html', 'text']);
    expect(json.template).toBe('email-verification');
    expect((await preview(['verify-email', '--format', 'html'])).stdout).toBe(json.html);
    expect((await preview(['verify-email', '--format', 'text'])).stdout).toBe(
      `Subject: ${json.subject}\n\n${json.text}`,
    );
  });

  it('accepts several data values and a subject', async () => {
    const { stdout } = await preview([
      'welcome',
      '--data',
      'name=Bo=b',
      'token=t',
      '--data',
      'id=u',
      '--subject',
      'Hi',
    ]);
    expect(stdout).toMatch(/^Subject: Hi\n/);
    expect(stdout).toContain('Hello Bo=b,');
    expect(stdout).toContain('\nhttps://nodebyte.host/auth/verify-email?token=t&id=u\n');
    expect((await preview(['welcome', '--data', 'name='])).stdout).toContain('\nHello,\n');
  });

  it('links to the configured site', async () => {
    const env = { SITE_URL: 'https://example.org', EMAIL_MAGIC_PATH: '/in' };
    const { stdout } = await preview(['magic-link', '--data', 'token=t'], env);
    expect(stdout).toContain('\nhttps://example.org/in?token=t\n');
  });

  it('writes a file in the format of its extension', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'email-'));
    try {
      for (const [name, start] of [
        ['a.html', '<!DOCTYPE html>'],
        ['a.json', '{\n'],
        ['a.txt', 'Subject: '],
      ] as const) {
        const file = join(folder, name);
        expect(await preview(['message', '--out', file])).toEqual({ stdout: '', stderr: '', code: 0 });
        expect((await readFile(file, 'utf8')).startsWith(start)).toBe(true);
      }
      const missing = await preview(['message', '--out', join(folder, 'none', 'a.html')]);
      expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('ENOENT') });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it.each([
    [['nope'], `no such template: nope (known: ${EMAIL_TEMPLATE_NAMES.join(', ')})`],
    [['toString'], 'no such template: toString'],
    [['message', '--data', 'text=x'], 'message has no text (known: message)'],
    [['message', '--data', 'x'], '--data takes key=value, not x'],
    [['message', '--data', 'message='], 'data.message must not be empty'],
    [['welcome', '--data', 'verifyUrl=javascript:x'], 'data.verifyUrl must be an http(s) URL'],
  ])('%j fails with a reason', async (args, reason) => {
    const { stdout, stderr, code } = await preview(args);
    expect([stdout, code]).toEqual(['', 1]);
    expect(stderr).toContain(`error: ${reason}`);
  });
});
