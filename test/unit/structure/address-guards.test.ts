/** Every outbound client has a guard on the addresses that it connects to, except for addresses of the environment. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SRC = fileURLToPath(new URL('../../../src/', import.meta.url));

/** Files that leave a client without a guard, and whose address the client calls. */
const UNGUARDED: Readonly<Record<string, string>> = {
  'clients/email/resend.ts': 'RESEND_BASE_URL, a variable of the environment',
  'clients/hytale/client.ts': 'HYTALE_*_BASE_URL, variables of the environment',
  'clients/hytale/keys.ts': 'HYTALE_SESSIONS_BASE_URL, a variable of the environment',
  'clients/http/address-guard.ts': 'guardFor: a URL whose origin is that of the environment',
};
/** The clients that connect, with the guard of their caller. */
const WITH_GUARD = ['clients/http/http.ts', 'clients/http/websocket.ts'];
/** Files that connect without the clients of clients/http, and where to. */
const OWN_CONNECTIONS: Readonly<Record<string, string>> = {
  'cli/demo/api.ts': 'the api that the demo itself started',
  'cli/demo/hytale.ts': 'the simulated page that the demo itself started',
};

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => ({ file, text: readFileSync(join(SRC, file), 'utf8') }));
const matching = (pattern: RegExp): string[] => files.filter(({ text }) => pattern.test(text)).map(({ file }) => file);

test('only addresses of the environment are called without a guard (S12)', () => {
  expect(matching(/\bguard: 'environment'|return 'environment'/).sort()).toEqual(Object.keys(UNGUARDED).sort());
});

test('no request passes by the clients with the guard (S12)', () => {
  const others = matching(/\bfetch\(|from 'undici'|\brequest\b.* from 'node:https?'/).filter(
    (file) => !WITH_GUARD.includes(file),
  );
  expect(others.sort()).toEqual(Object.keys(OWN_CONNECTIONS).sort());
});
