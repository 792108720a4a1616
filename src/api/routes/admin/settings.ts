/** `/api/admin/settings*`: the settings page of administrators. */
import { z } from 'zod';
import type { Resolver } from '../../../clients/http/address-guard.ts';
import { isSystemAdministrator } from '../../../domain/accounts/roles.ts';
import { AppError } from '../../../domain/errors.ts';
import {
  CONNECTION_NAMES,
  type ConnectionName,
  type ConnectionTestDeps,
  testConnection,
} from '../../../services/settings/connections.ts';
import {
  clearSecrets,
  SENSITIVE_FIELDS,
  saveSettingsPage,
  shownSettings,
  unreadableFields,
} from '../../../services/settings/settings-page.ts';
import { changedBy, type Services, userOf } from '../../context.ts';
import { documentedAs, queryText } from '../../http/fields.ts';
import { byAddress } from '../../http/limits.ts';
import { isLocalCaller } from '../../http/local-caller.ts';
import { type Call, defineRoute, type Route } from '../../http/route.ts';
import { PanelFields, readPanel } from '../setup/shapes.ts';
import {
  ClearBody,
  ConnectionSchema,
  SettingsBody,
  SettingsSchema,
  toConnection,
  toSettings,
} from './settings-shapes.ts';

const tags = ['Admin: settings'];
const PATH = '/api/admin/settings';
/** The site sends the whole page back, with every webhook and repository. */
const BODY_LIMIT_BYTES = 1024 * 1024;
/** Milliseconds for each connection, which the page waits for, and for the one that a person tests. */
const PAGE_TIMEOUT_MS = 2500;
const TEST_TIMEOUT_MS = 4500;

export interface SettingsRouteOptions {
  /** Resolves the names of panels that are tested; default the operating system's. */
  resolve?: Resolver;
  /** Milliseconds for a connection; default 2500 of the page, 4500 of a test. */
  timeoutMs?: number;
}

type AdminCall = Pick<Call<unknown, unknown, unknown>, 'caller' | 'origin' | 'deps' | 'koa'>;

/** Who changes the settings. */
const changeOf = (call: AdminCall) => ({
  editor: { kind: 'user', isSystemAdministrator: isSystemAdministrator(userOf(call.caller)) } as const,
  by: changedBy(call),
});

async function testDeps({ caller, deps, koa }: AdminCall, options: SettingsRouteOptions, timeoutMs: number) {
  const tester = {
    isSystemAdministrator: isSystemAdministrator(userOf(caller)),
    loopback: !deps.config.production && isLocalCaller(koa),
  };
  const { db, log, temporal, settings } = deps;
  const { resolve } = options;
  const known = await settings.known();
  return { db, log, temporal, known, tester, resolve, timeoutMs: options.timeoutMs ?? timeoutMs };
}

/** The answer of a read. All connections are tested at the same time, and none of them can fail the page. */
async function readPage(deps: ConnectionTestDeps, { webhooks: store, webhookUrlRules }: Services) {
  const { known } = deps;
  const [pterodactyl, virtfusion, database, webhooks] = await Promise.all([
    testConnection(deps, 'pterodactyl'),
    testConnection(deps, 'virtfusion'),
    testConnection(deps, 'database'),
    store.listAdmin(deps.db),
  ]);
  return {
    success: true as const,
    settings: toSettings(shownSettings(known), webhooks, webhookUrlRules),
    pterodactylStatus: toConnection(pterodactyl, 'Connected'),
    virtfusionStatus: toConnection(virtfusion, 'Connected'),
    databaseStatus: toConnection(database),
    sensitiveFields: [...SENSITIVE_FIELDS],
    unreadableFields: unreadableFields(known),
  };
}

async function readSaved({ db, settings, webhooks: store, webhookUrlRules }: Services) {
  const [known, webhooks] = await Promise.all([settings.known(), store.listAdmin(db)]);
  return toSettings(shownSettings(known), webhooks, webhookUrlRules);
}

/** @throws {AppError} VALIDATION_ERROR for another word. */
function readType(text: string): ConnectionName {
  const name = CONNECTION_NAMES.find((one) => one === text.trim().toLowerCase());
  if (name === undefined) throw new AppError('VALIDATION_ERROR', { publicMessage: 'Invalid connection type' });
  return name;
}

/** Tests what the body names. Only a panel has a URL and a key that can be typed. */
async function testTyped(deps: ConnectionTestDeps, name: ConnectionName, body: z.output<typeof PanelFields>) {
  if (name !== 'pterodactyl' && name !== 'virtfusion') return toConnection(await testConnection(deps, name));
  const typed = readPanel(body[`${name}Url`], body[`${name}ApiKey`]);
  if ('problem' in typed) return toConnection({ success: false, error: typed.problem });
  return toConnection(await testConnection(deps, name, { ...typed, rights: true }), 'Connected');
}

/** The page's routes; options are for tests. */
export function createSettingsRoutes(options: SettingsRouteOptions = {}): Route[] {
  return [
    defineRoute({
      method: 'get',
      path: PATH,
      operationId: 'getSettings',
      summary: 'The settings in force, and whether the connections work',
      description:
        'A secret is the mask (20 × U+2022) when one is set, otherwise empty. Each connection is tested within three seconds; one that fails is a result.',
      tags,
      auth: 'admin',
      responses: {
        200: z.object({
          success: z.literal(true),
          settings: SettingsSchema,
          pterodactylStatus: ConnectionSchema,
          virtfusionStatus: ConnectionSchema,
          databaseStatus: ConnectionSchema,
          sensitiveFields: z.array(z.enum(SENSITIVE_FIELDS)),
          unreadableFields: z
            .array(z.enum(SENSITIVE_FIELDS))
            .meta({ description: 'Secrets that cannot be decrypted: they count as not set' }),
        }),
      },
      errors: [],
      failureMessage: 'Failed to fetch settings',
      async handler(call) {
        return { status: 200, body: await readPage(await testDeps(call, options, PAGE_TIMEOUT_MS), call.deps) };
      },
    }),
    defineRoute({
      method: 'post',
      path: PATH,
      operationId: 'saveSettings',
      summary: 'Save settings',
      description:
        'Absent fields stay as they are, and only what differs from the value in force is stored. A blank text is cleared: then the environment or the default counts. A blank or masked secret stays as it is. Fields that carry secrets, email or links need a system administrator: another administrator who changes one gets 403, and nothing is saved. A form whose texts are all blank and whose switches are all off is refused.',
      tags,
      auth: 'admin',
      audit: 'settings-changed',
      bodyLimitBytes: BODY_LIMIT_BYTES,
      invalid: { code: 'VALIDATION_ERROR', named: true },
      body: SettingsBody,
      responses: { 200: z.object({ success: z.literal(true), message: z.string(), settings: SettingsSchema }) },
      errors: ['FORBIDDEN'],
      failureMessage: 'Failed to save settings',
      async handler(call) {
        await saveSettingsPage(call.deps, call.input.body, changeOf(call));
        const settings = await readSaved(call.deps);
        return { status: 200, body: { success: true, message: 'Settings saved successfully', settings } };
      },
    }),
    defineRoute({
      method: 'put',
      path: PATH,
      operationId: 'clearSecrets',
      summary: 'Clear secrets',
      description: 'A secret that the environment sets counts again. Needs a system administrator.',
      tags,
      auth: 'admin',
      audit: 'secrets-cleared',
      invalid: { code: 'VALIDATION_ERROR', publicMessage: 'Invalid request body' },
      body: ClearBody,
      responses: { 200: z.object({ success: z.literal(true), message: z.string() }) },
      errors: ['FORBIDDEN'],
      failureMessage: 'Failed to reset settings',
      async handler(call) {
        await clearSecrets(call.deps, call.input.body.keys, changeOf(call));
        return { status: 200, body: { success: true, message: 'Settings reset successfully' } };
      },
    }),
    defineRoute({
      method: 'post',
      path: `${PATH}/test`,
      operationId: 'testConnection',
      summary: 'Test a connection',
      description:
        'A connection that fails is a result, not an error. A panel is tested with the URL and the key of the body; without a key the stored one is used, if it was entered for the origin of the URL. Of Pterodactyl each right that the sync needs is tried, and the known client API key. `email` connects and signs in, and sends nothing.',
      tags,
      auth: 'admin',
      audit: { none: 'tests a connection' },
      // The caller decides where this machine connects to.
      limits: [{ name: 'settings-test', max: 60, windowSeconds: 600, by: byAddress }],
      query: z.object({ type: queryText({ enum: [...CONNECTION_NAMES] }) }),
      body: z.object({
        type: z
          .string()
          .nullish()
          .meta({
            description: 'When the query has none',
            ...documentedAs({ type: 'string', enum: [...CONNECTION_NAMES] }),
          }),
        ...PanelFields.shape,
      }),
      responses: { 200: ConnectionSchema },
      errors: [],
      failureMessage: 'Failed to test the connection',
      async handler(call) {
        const { query, body } = call.input;
        const name = readType(query.type || (body.type ?? ''));
        const deps = await testDeps(call, options, TEST_TIMEOUT_MS);
        return { status: 200, body: await testTyped(deps, name, body) };
      },
    }),
  ];
}

export const settingsRoutes: Route[] = createSettingsRoutes();
