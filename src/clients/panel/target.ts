/** Where a panel is and with which key it is called, checked before anything is sent. */
import { AppError } from '../../domain/errors.ts';
import { withoutApiPath } from '../../domain/panel/base-url.ts';
import type { Secret } from '../../domain/secret.ts';

/**
 * Origin and path of a panel's site; the path has no slash at its end.
 * @throws {AppError} PANEL_NOT_CONFIGURED if the text is not an http(s) URL.
 */
export function parsePanelUrl(text: string): { origin: string; base: string } {
  const url = URL.canParse(text) ? new URL(withoutApiPath(text)) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new AppError('PANEL_NOT_CONFIGURED', { publicMessage: 'The panel URL is not an http(s) URL' });
  }
  return { origin: url.origin, base: url.pathname.replace(/\/+$/, '') };
}

const unusable = () =>
  new AppError('PANEL_NOT_CONFIGURED', { publicMessage: 'A panel key holds characters that no header may hold' });

/**
 * Value of the header `authorization`. Built for each request, so that the clear key is not kept longer.
 * @throws {AppError} PANEL_NOT_CONFIGURED if a header cannot hold the key.
 */
export function bearer(key: Secret): string {
  const text = key.reveal().trim();
  if (!/^[\x21-\x7e]+$/.test(text)) throw unusable();
  return `Bearer ${text}`;
}

/** Credentials for Cloudflare Access in front of a panel: a service token. */
export interface ProxyCredentials {
  cfAccessClientId?: string;
  cfAccessClientSecret?: Secret;
}

/**
 * Headers for the access proxy; none without an id.
 * @throws {AppError} PANEL_NOT_CONFIGURED if a header cannot hold them.
 */
export function proxyHeaders({ cfAccessClientId, cfAccessClientSecret }: ProxyCredentials): Record<string, string> {
  if (cfAccessClientId === undefined) return {};
  const headers = {
    'cf-access-client-id': cfAccessClientId.trim(),
    'cf-access-client-secret': cfAccessClientSecret?.reveal().trim() ?? '',
  };
  if (Object.values(headers).some((value) => /[^\x20-\x7e]/.test(value))) throw unusable();
  return headers;
}
