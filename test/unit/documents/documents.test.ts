/** Documents say what is true: generated files are current; links, paths and commands exist. */
import { once } from 'node:events';
import { existsSync, globSync, readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import Koa from 'koa';
import { describe, expect, test } from 'vitest';
import { docs } from '../../../src/api/http/docs.ts';
import { createOpenApiDocument } from '../../../src/api/http/openapi.ts';
import { routes } from '../../../src/api/routes/index.ts';
import { registerAuditCommands } from '../../../src/cli/audit.ts';
import { registerDbCommands } from '../../../src/cli/db/db.ts';
import { registerEmailCommands } from '../../../src/cli/email.ts';
import { registerHytaleCommands } from '../../../src/cli/hytale.ts';
import { registerKeysCommands } from '../../../src/cli/keys.ts';
import { registerRunCommands } from '../../../src/cli/runs.ts';
import { registerSetupCommands } from '../../../src/cli/setup.ts';
import { registerSyncCommands } from '../../../src/cli/sync.ts';
import { registerUserCommands } from '../../../src/cli/user.ts';
import { registerWebhookCommands } from '../../../src/cli/webhook.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const manifest: { version: string; license: string; scripts: Record<string, string> } = JSON.parse(
  read('package.json'),
);
const DOCUMENTS = [...globSync('*.md', { cwd: ROOT }), ...globSync('docs/**/*.md', { cwd: ROOT })].toSorted();

test('docs/api/openapi.json is what the route table gives (npm run openapi)', () => {
  const current: unknown = JSON.parse(JSON.stringify(createOpenApiDocument(routes, manifest.version)));
  expect(JSON.parse(read('docs/api/openapi.json'))).toEqual(current);
});

test('each script starts a file that is there', () => {
  for (const [name, command] of Object.entries(manifest.scripts)) {
    for (const [, file] of command.matchAll(/node (?:--\S+ )*([\w./-]+\.ts)/g)) {
      expect(existsSync(join(ROOT, file ?? '')), `${name}: ${file}`).toBe(true);
    }
  }
});

/** Anchors of a document's headings, as GitHub makes them. */
const anchorsOf = (document: string): string[] =>
  [...read(document).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

/** `npm run cli -- group command`, as they are registered. */
const COMMANDS = (() => {
  const program = new Command();
  registerDbCommands(program);
  registerSyncCommands(program);
  registerRunCommands(program);
  registerUserCommands(program);
  registerWebhookCommands(program);
  registerKeysCommands(program);
  registerSetupCommands(program);
  registerEmailCommands(program);
  registerAuditCommands(program);
  registerHytaleCommands(program);
  return new Set(program.commands.flatMap((group) => group.commands.map((own) => `${group.name()} ${own.name()}`)));
})();

test('the README is short', () => {
  expect(read('README.md').trimEnd().split('\n').length).toBeLessThanOrEqual(150);
});

describe.each(DOCUMENTS)('%s', (document) => {
  const text = read(document);

  test('links lead to files and headings', () => {
    for (const [, path = '', anchor] of text.matchAll(/\]\(([^)#\s]*)(?:#([^)]*))?\)/g)) {
      if (/^[a-z]+:/.test(path)) continue;
      const target = path === '' ? document : join(dirname(document), path);
      expect(existsSync(join(ROOT, target)), path).toBe(true);
      if (anchor !== undefined) expect(anchorsOf(target), `${path}#${anchor}`).toContain(anchor);
    }
  });

  test('named files and folders exist', () => {
    const named = text.matchAll(/(?<![\w./-])(?:src|test|simulators|bench|migrations|docs)\/[\w.,/-]*\w/g);
    expect([...named].map(([path]) => path).filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  test('named commands exist', () => {
    for (const [, command] of text.matchAll(/npm run cli -- ([a-z]+ [a-z-]+)/g)) {
      expect(COMMANDS, command).toContain(command);
    }
  });

  test('named scripts exist', () => {
    for (const [, script] of text.matchAll(/npm run ([a-z][\w:-]*)/g)) {
      expect(manifest.scripts, script).toHaveProperty([script ?? '']);
    }
  });
});

test('every decision has its three parts', () => {
  const files = globSync('docs/adr/*.md', { cwd: ROOT });
  expect(files.length).toBeGreaterThan(0);
  for (const file of files) {
    expect(file).toMatch(/\/\d{4}-[a-z0-9-]+\.md$/);
    for (const part of ['## Context', '## Decision', '## Consequences']) expect(read(file), file).toContain(part);
  }
});

test('the changelog has the present version, the licence is whole', () => {
  const changelog = read('CHANGELOG.md');
  expect(changelog).toContain('## [Unreleased]');
  expect(changelog).toContain(`## [${manifest.version}]`);
  expect(manifest.license).toBe('AGPL-3.0-or-later');
  const license = read('LICENSE');
  expect(license).toContain('GNU AFFERO GENERAL PUBLIC LICENSE');
  expect(license).toContain('END OF TERMS AND CONDITIONS');
});

test('the readers of the API document ask no other host', async () => {
  const app = new Koa();
  app.use(docs(() => createOpenApiDocument(routes, manifest.version)));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address() as AddressInfo;
    for (const page of ['/docs', '/swagger']) {
      const answer = await fetch(`http://127.0.0.1:${port}${page}`);
      expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'");
      const html = await answer.text();
      const needed = [...html.matchAll(/(?:src|href)="(?!data:)([^"]+)"/g)].map((match) => match[1] ?? '');
      expect(needed.length).toBeGreaterThan(1);
      for (const address of needed) {
        expect(address).toMatch(/^\//);
        const asset = await fetch(`http://127.0.0.1:${port}${address}`);
        expect(asset.status, address).toBe(200);
        // What a script draws by itself: its maker's logo.
        expect(await asset.text(), address).not.toMatch(/src:\s*"https?:\/\//);
      }
    }
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
