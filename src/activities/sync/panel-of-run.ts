/** The panel of a run: the client that its activities call, as long as the settings name the panel that it was opened for. */
import type { PanelClient } from '../../clients/panel/client.ts';
import type { RuntimeSettings } from '../../services/settings/runtime-settings.ts';
import { requireSamePanel } from '../../services/sync/panel-fingerprint.ts';

export interface PanelOfRunDeps {
  /** Settings as they are now. */
  settings: () => Promise<RuntimeSettings>;
  /** A client for the panel that is configured now. */
  panel: () => Promise<PanelClient>;
}

/**
 * @param expected fingerprint of the panel that the run was opened for.
 * @throws {AppError} PANEL_CHANGED when the settings name another panel or hold another key; PANEL_NOT_CONFIGURED.
 */
export async function panelOfRun(deps: PanelOfRunDeps, expected: string): Promise<PanelClient> {
  // The client first: settings that change between the two are then noticed.
  const client = await deps.panel();
  requireSamePanel(await deps.settings(), expected);
  return client;
}
