/**
 * Reads JSON bodies, bounded, and refuses text the database cannot hold.
 * No library: @koa/bodyparser replaces invalid UTF-8, and raw-body stops reading a refused body, so its answer can get lost.
 */
import type { Context } from 'koa';
import { AppError } from '../../../domain/errors.ts';

/** Bytes of a body at the most: 4 MiB, the limit of the existing service. */
export const BODY_LIMIT_BYTES = 4 * 1024 * 1024;
/** What is still read of a body that was refused: bytes, and milliseconds. */
const DISCARDED_BYTES = 32 * 1024 * 1024;
const DISCARDING_MS = 10_000;

/** What a body turned out to be. `unusable`: not JSON, or JSON with text that cannot be stored. */
export type BodyResult = { value: unknown } | { unusable: true };

/**
 * Reads the body. An empty one is `{}` whatever its type (the site sends a JSON type with bodiless calls).
 * @throws {AppError} PAYLOAD_TOO_LARGE.
 */
export async function readBody(ctx: Context): Promise<BodyResult> {
  refuseLargeBody(ctx);
  const bytes = await readBytes(ctx);
  if (bytes.length === 0) return { value: {} };
  // `is` answers null for a request without a body and false for another type.
  if (ctx.is('application/json', '+json') === false || ctx.get('Content-Type') === '') return { unusable: true };
  if (!['', 'identity'].includes(ctx.get('Content-Encoding').toLowerCase())) return { unusable: true };
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return hasStorableText(value) ? { value } : { unusable: true };
  } catch {
    return { unusable: true };
  }
}

/** Refuses by the announced length, before anything is read. */
export function refuseLargeBody(ctx: Context): void {
  if (Number(ctx.get('Content-Length') || 0) > BODY_LIMIT_BYTES) throw tooLarge(ctx);
}

/**
 * Drops the rest of the body, within limits. A connection that is cut while its caller still sends is reset, and the
 * answer is lost with it (RFC 9112, section 9.6).
 */
function tooLarge({ req }: Context): AppError {
  const cut = setTimeout(() => req.socket.destroy(), DISCARDING_MS).unref();
  let left = DISCARDED_BYTES;
  req.once('end', () => clearTimeout(cut));
  req.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) req.socket.destroy();
  });
  return new AppError('PAYLOAD_TOO_LARGE');
}

async function readBytes(ctx: Context): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of ctx.req.iterator({ destroyOnReturn: false })) {
      const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
      length += bytes.length;
      if (length > BODY_LIMIT_BYTES) break;
      chunks.push(bytes);
    }
  } catch (error) {
    // The caller hung up in the middle: nobody reads the answer.
    throw new AppError('BAD_REQUEST', { detail: 'Request body ended early', cause: error });
  }
  if (length > BODY_LIMIT_BYTES) throw tooLarge(ctx);
  return Buffer.concat(chunks);
}

/** No NUL and no lone surrogate in any text or key: PostgreSQL takes neither. A loop, for hostile depth. */
export function hasStorableText(root: unknown): boolean {
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
