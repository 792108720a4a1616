/**
 * One attacker, in a process of its own: `node bench/api/attacker.ts <url> <attack> <megabits a second>`. It sends until it
 * is stopped, with at most that bandwidth over at most 128 connections, and ignores the answers.
 */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { emailOf } from './data.ts';

const CONNECTIONS = 128;
/** Just below the default limit of a body, and below the limit of the sign-in area. */
const LARGE_BYTES = 60 * 1024;
const SMALLER_BYTES = 15 * 1024;
/** About what the headers of a request and the packets around it take. */
const OVERHEAD_BYTES = 400;

interface Sent {
  path: string;
  /** Client address, as the trusted proxy would write it. */
  from: string;
  body: string;
}

/** An address of one household: another /64 of the same /56 each time. */
const ofOneHome = (n: number): string => `2001:db8:1:${(0x200 + (n % 256)).toString(16)}::1`;

/** JSON of many keys, which costs the most to parse. */
function manyKeys(size: number): string {
  const keys: string[] = [];
  for (let i = 0, bytes = 2; bytes < size; i += 1) {
    const key = `"${i.toString(36)}":0`;
    keys.push(key);
    bytes += key.length + 1;
  }
  return `{${keys.join(',')}}`;
}

const [large, smaller] = [manyKeys(LARGE_BYTES), manyKeys(SMALLER_BYTES)];
const ATTACKS: Readonly<Record<string, (n: number) => Sent>> = {
  bodies: (n) => ({
    path: n % 2 === 0 ? '/api/v1/auth/logout' : '/api/v1/auth/login',
    from: '198.51.100.66',
    body: n % 4 < 2 ? large : smaller,
  }),
  guesses: (n) => ({
    path: '/api/v1/auth/login',
    from: ofOneHome(n),
    body: JSON.stringify({ email: emailOf(n % 400), password: randomBytes(8).toString('hex') }),
  }),
  reads: (n) => ({
    path: ['/health/ready', '/api/panel/nodes', '/api/v1/setup'][n % 3] ?? '',
    from: '198.51.100.67',
    body: '',
  }),
};

const [url = '', attack = '', megabits = '40'] = process.argv.slice(2);
const bytesPerMs = (Number(megabits) * 1_000_000) / 8 / 1000;
const startedAt = performance.now();
let spent = 0;
/** Waits until the bandwidth allows so many further bytes. */
async function allow(bytes: number): Promise<void> {
  spent += bytes;
  const early = spent / bytesPerMs - (performance.now() - startedAt);
  if (early > 0) await sleep(early);
}

/** Opens connections that ask for a large answer and read nothing. */
async function connectWithoutReading({ hostname, port }: URL): Promise<never> {
  const asked = 'GET /docs/assets/redoc.standalone.js HTTP/1.1\r\nHost: api\r\n\r\n'.repeat(5);
  for (;;) {
    await allow(asked.length + 10 * OVERHEAD_BYTES);
    const socket = connect(Number(port), hostname, () => socket.write(asked)).pause();
    socket.on('error', () => undefined);
    await sleep(5);
  }
}

async function send(make: (n: number) => Sent): Promise<void> {
  const pool = new Pool(url, { connections: CONNECTIONS, pipelining: 1 });
  let n = 0;
  const lane = async (): Promise<never> => {
    for (;;) {
      const { path, from, body } = make(n++);
      await allow(body.length + OVERHEAD_BYTES);
      const headers = { 'x-forwarded-for': from, 'content-type': 'application/json' };
      await pool
        .request(body === '' ? { method: 'GET', path, headers } : { method: 'POST', path, headers, body })
        .then((response) => response.body.dump())
        .catch(() => undefined);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
}

process.on('disconnect', () => process.exit(0));
const make = ATTACKS[attack];
await (make === undefined ? connectWithoutReading(new URL(url)) : send(make));
