/**
 * Reads JSON bodies up to a limit, and refuses text that the database cannot hold.
 * No library: @koa/bodyparser replaces invalid UTF-8, and raw-body stops reading a refused body, so its answer can get lost.
 */
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
export async function readBody(ctx: Context, limitBytes: number): Promise<BodyResult> {
  const bytes = await readBytes(ctx, limitBytes);
  if (bytes.length === 0) return { value: {} };
  // `is` answers null for a request without a body and false for another type.
  if (ctx.is('application/json', '+json') === false || ctx.get('Content-Type') === '') return { unusable: true };
  if (!['', 'identity'].includes(ctx.get('Content-Encoding').toLowerCase())) return { unusable: true };
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    const value: unknown = JSON.parse(text);
    return !SUSPECT_ESCAPE.test(text) || isStorable(value) ? { value } : { unusable: true };
  } catch {
    return { unusable: true };
  }
}

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
