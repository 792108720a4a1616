/** The panel client for the settings as they are now; a change of settings makes a new one. */
import { AppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import { guardFor } from '../http/address-guard.ts';
import { createPanelClient, type PanelClient } from './client.ts';
import type { ProxyCredentials } from './target.ts';

export interface PanelAccess extends ProxyCredentials {
  panelUrl?: string;
  panelApiKey?: Secret;
  panelClientApiKey?: Secret;
}

/**
 * @param options `environmentUrl`: the panel URL of the environment, whose address is not judged. `timeoutMs`: milliseconds
 * for one exchange; `maxBodyBytes`: bytes of one body; defaults the client's.
 * @returns a function that gives the client, and `close` for the end of the process.
 * The function throws {AppError} PANEL_NOT_CONFIGURED without URL or application key.
 */
export function createPanelProvider(
  settings: () => Promise<PanelAccess>,
  { environmentUrl, ...options }: { environmentUrl: string | undefined; timeoutMs?: number; maxBodyBytes?: number },
): {
  client: () => Promise<PanelClient>;
  close: () => Promise<void>;
} {
  let current: { key: string; client: PanelClient } | undefined;
  return {
    async client() {
      const s = await settings();
      if (s.panelUrl === undefined || s.panelApiKey === undefined) throw new AppError('PANEL_NOT_CONFIGURED');
      const key = [s.panelUrl, s.panelApiKey, s.panelClientApiKey, s.cfAccessClientId, s.cfAccessClientSecret]
        .map((v) => (v === undefined ? '' : typeof v === 'string' ? v : v.reveal()))
        .join('\n');
      if (current?.key === key) return current.client;
      const old = current?.client;
      const client = createPanelClient({
        ...options,
        url: s.panelUrl,
        guard: guardFor(s.panelUrl, environmentUrl),
        apiKey: s.panelApiKey,
        ...(s.panelClientApiKey === undefined ? {} : { clientApiKey: s.panelClientApiKey }),
        ...(s.cfAccessClientId === undefined ? {} : { cfAccessClientId: s.cfAccessClientId }),
        ...(s.cfAccessClientSecret === undefined ? {} : { cfAccessClientSecret: s.cfAccessClientSecret }),
      });
      current = { key, client };
      // Closing waits for the old client's requests.
      old?.close().catch(() => undefined);
      return client;
    },
    async close() {
      await current?.client.close();
    },
  };
}
