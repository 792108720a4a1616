/** VirtFusion's API, of which one call is used: it tells whether a URL and a key work. */
import { AppError, type ErrorCode } from '../domain/errors.ts';
import type { Secret } from '../domain/secret.ts';
import type { AddressGuard } from './http/address-guard.ts';
import { createHttpClient, HttpFailure } from './http/http.ts';

/** Only the status of the answer is used. */
const MAX_BODY_BYTES = 256 * 1024;

function codeOfStatus(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'PANEL_AUTH';
  if (status === 404) return 'PANEL_NOT_FOUND';
  if (status === 429) return 'PANEL_RATE_LIMITED';
  return status >= 500 || status === 408 ? 'PANEL_UNAVAILABLE' : 'PANEL_CONTRACT';
}

/**
 * GET {url}/api/v1/connect, once: returns when VirtFusion accepts the key.
 * @param target `url`: origin of the installation, with its path, if any.
 * @param options `timeoutMs`: milliseconds for the whole exchange.
 * @throws {AppError} ADDRESS_REFUSED, PANEL_NOT_CONFIGURED (URL or key cannot be used in a request), PANEL_AUTH,
 * PANEL_NOT_FOUND, PANEL_RATE_LIMITED, PANEL_UNAVAILABLE, PANEL_CONTRACT; `meta` never holds a key or a body.
 */
export async function testConnection(
  target: { url: string; apiKey: Secret },
  options: { guard: AddressGuard; timeoutMs: number },
): Promise<void> {
  const url = URL.canParse(target.url) ? new URL(target.url) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new AppError('PANEL_NOT_CONFIGURED', { publicMessage: 'The panel URL is not an http(s) URL' });
  }
  const key = target.apiKey.reveal().trim();
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new AppError('PANEL_NOT_CONFIGURED', {
      publicMessage: 'A panel key holds characters that no header may hold',
    });
  }
  const path = `${url.pathname.replace(/\/+$/, '')}/api/v1/connect`;
  const http = createHttpClient({ origin: url.origin, connections: 1, maxBodyBytes: MAX_BODY_BYTES, ...options });
  try {
    const headers = { accept: 'application/json', authorization: `Bearer ${key}` };
    const answer = await http.send({ method: 'GET', path, headers });
    const meta = { kind: 'http', status: answer.status };
    if (answer.status < 200 || answer.status >= 300) throw new AppError(codeOfStatus(answer.status), { meta });
    // A site that answers every path with its home page is not the API.
    if (answer.header('content-type')?.includes('text/html') === true) throw new AppError('PANEL_CONTRACT', { meta });
  } catch (error) {
    if (!(error instanceof HttpFailure)) throw error;
    const { kind, status, reason } = error;
    throw new AppError('PANEL_UNAVAILABLE', { meta: { kind, status, reason } });
  } finally {
    // Not awaited: the answer is known, and an idle socket closes by itself.
    http.close().catch(() => undefined);
  }
}
