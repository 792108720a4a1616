/**
 * What is written at the panel: startup variables and power signals of a server. The values of variables are secrets: they
 * travel in bodies, which no error and no log holds.
 */
import { z } from 'zod';
import { AppError, isAppError } from '../../domain/errors.ts';
import { type PanelItem, parseItemEnvelope, parseListEnvelope } from '../../domain/panel/envelope.ts';
import type { Secret } from '../../domain/secret.ts';
import { readEmpty, type Throttle } from './answers.ts';
import { call, type Panel, send } from './request.ts';

export const POWER_SIGNALS = ['start', 'stop', 'restart', 'kill'] as const;
export type PowerSignal = (typeof POWER_SIGNALS)[number];

interface Options {
  signal?: AbortSignal;
}

export interface PanelWrites {
  /**
   * PUT {url}/api/client/servers/{uuid}/startup/variable with the client key: sets a variable that users may see and edit. It
   * applies at the next start of the server.
   * @throws {AppError} PANEL_NOT_CONFIGURED without a client key; PANEL_CONFLICT when the server's state forbids it; PANEL_CONTRACT
   * when the value breaks a rule of the variable (status 422, `details`: its rule) or users may not edit it (status 400). The panel
   * answers with status 500 to a name that the egg does not have: then PANEL_NOT_FOUND, if its list of variables says so, too.
   */
  setVariable(serverUuid: string, name: string, value: Secret, options?: Options): Promise<{ throttle: Throttle }>;
  /**
   * Sets variables that users may not edit: GET {url}/api/application/servers/{id} and PATCH of its `/startup`, which writes each
   * variable of the egg, so the others are sent as they were read just before. The key needs the right to write servers.
   * @throws {AppError} PANEL_CONTRACT when any variable breaks its rule (status 422, `details`: `environment.<name>` and rule).
   */
  updateStartup(
    panelId: number,
    variables: ReadonlyMap<string, Secret>,
    options?: Options,
  ): Promise<{ throttle: Throttle }>;
  /** POST {url}/api/client/servers/{uuid}/power with the client key. @throws {AppError} PANEL_CONFLICT as above. */
  power(serverUuid: string, powerSignal: PowerSignal, options?: Options): Promise<void>;
}

/** What `/startup` is given again. Panel 1.11 does not show `skip_scripts`; its default is false. */
const ServerSchema = z.object({
  egg: z.int(),
  container: z.object({
    startup_command: z.string(),
    image: z.string(),
    environment: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
    skip_scripts: z.boolean().default(false).catch(false),
  }),
});

/** Names in `environment` that are not variables of the egg. */
const OF_THE_PANEL = new Set(['STARTUP', 'P_SERVER_LOCATION', 'P_SERVER_UUID', 'P_SERVER_ALLOCATION_LIMIT']);

const noVariable = (name: string, path: string): AppError =>
  new AppError('PANEL_NOT_FOUND', {
    publicMessage: `The egg of this server has no variable ${name} at the panel: run a sync`,
    meta: { path, name },
  });

/** The body of `/startup`: the server as it is, but for the variables. @throws {AppError} PANEL_CONTRACT, PANEL_NOT_FOUND. */
function startupOf(server: PanelItem, variables: ReadonlyMap<string, Secret>, path: string) {
  const parsed = ServerSchema.safeParse(server.attributes);
  if (!parsed.success) {
    const at = parsed.error.issues[0]?.path.join('.');
    throw new AppError('PANEL_CONTRACT', { meta: { kind: 'body', path, at, problem: parsed.error.issues[0]?.code } });
  }
  const { egg, container } = parsed.data;
  const environment: Record<string, string | null> = {};
  for (const [name, value] of Object.entries(container.environment)) {
    // Numbers break the rule `string`.
    if (!OF_THE_PANEL.has(name)) environment[name] = value === null ? null : String(value);
  }
  for (const [name, value] of variables) {
    // The panel takes no notice of a name that the egg does not have.
    if (!Object.hasOwn(environment, name)) throw noVariable(name, path);
    environment[name] = value.reveal();
  }
  const { startup_command: startup, image, skip_scripts } = container;
  return { startup, environment, egg, image, skip_scripts };
}

/** Whether the panel answered with an exception of its own (status 500). */
const isErrorOfPanel = (error: unknown): boolean =>
  isAppError(error, 'PANEL_UNAVAILABLE') &&
  error.meta?.['kind'] === 'http' &&
  error.meta['panelCode'] !== undefined &&
  error.meta['status'] === 500;

/** The writes of a client. @param clientKey throws PANEL_NOT_CONFIGURED without a client key. */
export function createPanelWrites(panel: Panel, apiKey: Secret, clientKey: () => Secret): PanelWrites {
  const ofServer = (serverUuid: string) => `/api/client/servers/${encodeURIComponent(serverUuid)}`;
  return {
    async setVariable(serverUuid, name, value, { signal } = {}) {
      const path = `${ofServer(serverUuid)}/startup`;
      const body = { key: name, value: value.reveal() };
      const request = { method: 'PUT', path: `${path}/variable`, key: clientKey(), body, signal } as const;
      try {
        const { throttle } = await call(panel, { ...request, parse: parseItemEnvelope });
        return { throttle };
      } catch (error) {
        if (!isErrorOfPanel(error)) throw error;
        const list = await call(panel, { path, key: clientKey(), parse: parseListEnvelope, signal }).catch(
          () => undefined,
        );
        const known = list?.value.items.some(({ attributes }) => attributes['env_variable'] === name) ?? true;
        throw known ? error : noVariable(name, path);
      }
    },
    async updateStartup(panelId, variables, { signal } = {}) {
      const path = `/api/application/servers/${panelId}`;
      const server = await call(panel, { path, key: apiKey, parse: parseItemEnvelope, signal });
      const body = startupOf(server.value, variables, path);
      const request = {
        method: 'PATCH',
        path: `${path}/startup`,
        key: apiKey,
        body,
        parse: parseItemEnvelope,
      } as const;
      const { throttle } = await call(panel, { ...request, signal });
      return { throttle };
    },
    async power(serverUuid, powerSignal, { signal } = {}) {
      const path = `${ofServer(serverUuid)}/power`;
      const sent = await send(panel, { method: 'POST', path, key: clientKey(), body: { signal: powerSignal }, signal });
      readEmpty(sent.answer, sent.path);
    },
  };
}
