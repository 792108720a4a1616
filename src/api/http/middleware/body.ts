/**
 * Reads JSON bodies up to a limit, and refuses text that the database cannot hold, unless the route has it replaced.
 * No library: @koa/bodyparser replaces invalid UTF-8, and raw-body stops reading a refused body, so its answer can get lost.
 */
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type { Context } from 'koa';
import { AppError } from '../../../domain/errors.ts';

/** Maximum number of bytes of a body where its route declares no limit; the forms of the site send some hundred. */
const DEFAULT_LIMIT_BYTES = 64 * 1024;
/** How much of a refused body is still read: bytes, and milliseconds. */
const DISCARD_BYTES = 32 * 1024 * 1024;
const DISCARD_MS = 10_000;
/** Escapes of NUL and of surrogates: in valid UTF-8, JSON can write text that is not storable in no other way. */
const SUSPECT_ESCAPE = /\\u(?:0000|d[89a-f])/i;

/** What a body turned out to be. `unusable`: not JSON, or JSON with text that cannot be stored. */
export type BodyResult = { value: unknown } | { unusable: true };

/**
 * What a route allows of its body. `gzip`: it may be compressed; the limit holds for what was sent and for what it becomes.
 * `repaired`: bytes that are no UTF-8, NUL and half surrogate pairs become U+FFFD.
 */
export interface BodyReading {
  gzip?: true;
  repaired?: true;
}

/** Maximum number of bytes of a body: the route's own limit, else 64 KiB. */
export const bodyLimitBytes = (route?: { bodyLimitBytes?: number }): number =>
  route?.bodyLimitBytes ?? DEFAULT_LIMIT_BYTES;

/** Refuses by the announced length, before anything is read. @throws {AppError} PAYLOAD_TOO_LARGE. */
export function refuseLargeBody(ctx: Context, limitBytes: number): void {
  if (Number(ctx.get('Content-Length') || 0) > limitBytes) throw new AppError('PAYLOAD_TOO_LARGE');
}

/**
 * Reads the body. An empty one is `{}` whatever its type: the site sends a JSON type with calls that have no body.
 * @throws {AppError} PAYLOAD_TOO_LARGE.
 */
export async function readBody(ctx: Context, limitBytes: number, reading: BodyReading = {}): Promise<BodyResult> {
  const sent = await readBytes(ctx, limitBytes);
  if (sent.length === 0) return { value: {} };
  // `is` answers null for a request without a body and false for another type.
  if (ctx.is('application/json', '+json') === false || ctx.get('Content-Type') === '') return { unusable: true };
  const bytes = await decode(sent, ctx.get('Content-Encoding').toLowerCase(), limitBytes, reading);
  if (bytes === undefined) return { unusable: true };
  try {
    const text = new TextDecoder('utf-8', { fatal: reading.repaired !== true }).decode(bytes);
    if (!SUSPECT_ESCAPE.test(text)) return { value: JSON.parse(text) };
    const value: unknown = JSON.parse(text, reading.repaired === true ? repaired : undefined);
    return isStorable(value) ? { value } : { unusable: true };
  } catch {
    return { unusable: true };
  }
}

const inflate = promisify(gunzip);

/** @returns undefined: a coding that is not allowed here, or broken. @throws {AppError} PAYLOAD_TOO_LARGE. */
async function decode(
  bytes: Buffer,
  coding: string,
  limitBytes: number,
  { gzip }: BodyReading,
): Promise<Buffer | undefined> {
  if (['', 'identity'].includes(coding)) return bytes;
  if (gzip !== true || !['gzip', 'x-gzip'].includes(coding)) return undefined;
  try {
    // Stops at the limit, however much more a small body would become.
    return await inflate(bytes, { maxOutputLength: limitBytes });
  } catch (error) {
    if (error instanceof RangeError) throw new AppError('PAYLOAD_TOO_LARGE');
    return undefined;
  }
}

/** For `JSON.parse`: texts without what PostgreSQL cannot store. */
const repaired = (_key: string, value: unknown): unknown =>
  typeof value === 'string' ? value.replaceAll('\0', '\uFFFD').toWellFormed() : value;

/**
 * Reads and drops the rest of a refused body, within limits. A connection that is cut while its caller still sends is
 * reset, and the answer is lost with it (RFC 9112, section 9.6).
 */
export function discardBody({ req }: Context): void {
  if (req.complete || req.destroyed) return;
  const cut = setTimeout(() => req.socket.destroy(), DISCARD_MS).unref();
  let left = DISCARD_BYTES;
  req.once('close', () => clearTimeout(cut));
  req.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) req.socket.destroy();
  });
}

async function readBytes(ctx: Context, limitBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of ctx.req.iterator({ destroyOnReturn: false })) {
      const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
      length += bytes.length;
      if (length > limitBytes) break;
      chunks.push(bytes);
    }
  } catch (error) {
    // The caller closed the connection in the middle: the answer has no reader.
    throw new AppError('BAD_REQUEST', { publicMessage: 'Request body ended early', cause: error });
  }
  if (length > limitBytes) throw new AppError('PAYLOAD_TOO_LARGE');
  return Buffer.concat(chunks);
}

/** No NUL and no lone surrogate in any text or key: PostgreSQL stores neither. A loop, because nesting may be deep. */
export function isStorable(root: unknown): boolean {
  const open: unknown[] = [root];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value === 'string') {
      if (value.includes('\0') || !value.isWellFormed()) return false;
    } else if (Array.isArray(value)) {
      for (const item of value) open.push(item);
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, item] of Object.entries(value)) open.push(key, item);
    }
  }
  return true;
}
