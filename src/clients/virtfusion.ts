/** VirtFusion's API, of which one call is used: it tells whether a URL and a key work. */
import { AppError, type ErrorCode } from '../domain/errors.ts';
import type { Secret } from '../domain/secret.ts';
import { foreignAnswer, foreignText } from './http/answers.ts';
import { failureText, HttpFailure } from './http/failures.ts';
import { createHttpClient, type HttpAnswer, type HttpClientOptions } from './http/http.ts';
import { bearer, parsePanelUrl } from './panel/target.ts';

/** Only the status of the answer is used. */
const MAX_BODY_BYTES = 256 * 1024;
const VIRTFUSION = 'VirtFusion';

function codeOfStatus(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'PANEL_AUTH';
  if (status === 404) return 'PANEL_NOT_FOUND';
  if (status === 429) return 'PANEL_RATE_LIMITED';
  return status >= 500 || status === 408 ? 'PANEL_UNAVAILABLE' : 'PANEL_CONTRACT';
}

/** VirtFusion answers with JSON objects, errors too. */
const isObject = (body: unknown): boolean => typeof body === 'object' && body !== null && !Array.isArray(body);

/** @throws {AppError} for every answer that does not say that VirtFusion accepts the key. */
function check(answer: HttpAnswer): void {
  const { status } = answer;
  const foreign = foreignAnswer(answer, isObject);
  if (foreign !== undefined) {
    const meta = { kind: 'http', status, sender: foreign.kind };
    throw new AppError('PANEL_UNAVAILABLE', { publicMessage: foreignText(VIRTFUSION, foreign), meta });
  }
  if (status < 200 || status >= 300) throw new AppError(codeOfStatus(status), { meta: { kind: 'http', status } });
}

/**
 * GET {url}/api/v1/connect, once: returns when VirtFusion accepts the key.
 * @param target `url`: origin of the installation, with its path, if any; the API's path at its end is cut.
 * @param options `timeoutMs`: milliseconds for the whole exchange.
 * @throws {AppError} ADDRESS_REFUSED, PANEL_NOT_CONFIGURED (URL or key cannot be used in a request), PANEL_AUTH,
 * PANEL_NOT_FOUND, PANEL_RATE_LIMITED, PANEL_UNAVAILABLE, PANEL_CONTRACT; `meta` never holds a key or a body.
 */
export async function testConnection(
  target: { url: string; apiKey: Secret },
  options: Pick<HttpClientOptions, 'guard' | 'timeoutMs'>,
): Promise<void> {
  const { origin, base } = parsePanelUrl(target.url);
  const headers = { accept: 'application/json', authorization: bearer(target.apiKey) };
  const http = createHttpClient({ origin, connections: 1, maxBodyBytes: MAX_BODY_BYTES, ...options });
  try {
    check(await http.send({ method: 'GET', path: `${base}/api/v1/connect`, headers }));
  } catch (error) {
    if (!(error instanceof HttpFailure)) throw error;
    const { kind, status, reason } = error;
    const publicMessage = failureText(VIRTFUSION, error);
    throw new AppError('PANEL_UNAVAILABLE', { publicMessage, meta: { kind, status, reason } });
  } finally {
    // Not awaited: the answer is known, and an idle socket closes by itself.
    http.close().catch(() => undefined);
  }
}
