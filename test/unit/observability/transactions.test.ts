/** Transactions of background work reach Sentry under the names of the contract, with nothing else in them. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Secret } from '../../../src/domain/secret.ts';
import { flushErrors, startLogging, traced } from '../../../src/observability.ts';

const received: string[] = [];
const server = createServer((request, response) => {
  request.toArray().then((parts: Buffer[]) => {
    received.push(Buffer.concat(parts).toString('utf8'));
    response.end('{}');
  });
});

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

test('a part of the transactions is sent, by name, operation and id', async () => {
  const { port } = server.address() as AddressInfo;
  const dsn = new Secret(`http://key@127.0.0.1:${port}/1`);
  startLogging({ logLevel: 'silent', production: true, env: 'test', sentryDsn: dsn }, 'test', '1.2.3');
  const about = { transaction: 'worker.refresh_oauth_tokens', operation: 'refresh_oauth_token', description: 'an id' };
  for (let n = 0; n < 200; n += 1) {
    expect(await traced(about, () => fetch(`http://127.0.0.1:${port}/hidden-path`).then(() => n))).toBe(n);
  }
  await flushErrors(5_000);
  const transactions = received
    .flatMap((envelope) => envelope.split('\n'))
    .filter((line) => line.includes('"type":"transaction"') && line.includes('"spans"'))
    .map((line) => JSON.parse(line) as { transaction: string; spans: { op: string; description: string }[] });
  expect(transactions.length).toBeGreaterThan(0);
  expect(transactions.length).toBeLessThan(100);
  for (const { transaction, spans } of transactions) {
    expect(transaction).toBe('worker.refresh_oauth_tokens');
    expect(spans.map(({ op, description }) => ({ op, description }))).toEqual([
      { op: 'refresh_oauth_token', description: 'an id' },
    ]);
  }
  expect(received.join('\n')).not.toContain('hidden-path');
});
