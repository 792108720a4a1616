/**
 * `/api/v1/setup*`: the first-run wizard. Its calls are open for an hour, while no system administrator exists; the address
 * guard limits what an unknown caller can make this machine connect to.
 */
import { z } from 'zod';
import type { Resolver } from '../../../clients/http/address-guard.ts';
import { isSystemAdministrator } from '../../../domain/accounts/roles.ts';
import { AppError } from '../../../domain/errors.ts';
import { changeSettings, type SettingsEditor } from '../../../services/settings/change-settings.ts';
import { PANELS, readSetup } from '../../../services/settings/setup.ts';
import { type ConnectionDeps, testPanel, untested } from '../../../services/settings/test-connections.ts';
import { type Caller, changedBy } from '../../context.ts';
import { byAddress, PUBLIC_READS } from '../../http/limits.ts';
import { isLocalCaller } from '../../http/local-caller.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { namesPanel, readPanel, SetupBody, SetupState, TestBody, TestResult, toSettings } from './shapes.ts';

const tags = ['Setup'];
/** Milliseconds for the answer of a panel: a person waits at a form. */
const TEST_TIMEOUT_MS = 5000;

export interface SetupRouteOptions {
  /** Resolves the names of panels that are tested; default the operating system's. */
  resolve?: Resolver;
  /** Milliseconds for the answer of a panel; default 5000. */
  timeoutMs?: number;
}

const editorOf = (caller: Caller): SettingsEditor =>
  caller.kind === 'user'
    ? { kind: 'user', isSystemAdministrator: isSystemAdministrator(caller.user) }
    : { kind: 'setup' };

/** Tests the panels that the body names. */
async function testNamedPanels(deps: ConnectionDeps, body: z.output<typeof TestBody>) {
  const tests = PANELS.filter((name) => namesPanel(body, name)).map(async (name) => {
    const typed = readPanel(body[`${name}Url`], body[`${name}ApiKey`]);
    if ('problem' in typed) return [name, untested(typed.problem)] as const;
    const { url, apiKey } = typed;
    if (!url) return [name, untested('Enter the URL of the panel')] as const;
    return [name, await testPanel(deps, { name, url, apiKey, rights: true })] as const;
  });
  return Object.fromEntries(await Promise.all(tests));
}

/** The wizard's routes; options are for tests. */
export function createSetupRoutes(options: SetupRouteOptions = {}): Route[] {
  return [
    defineRoute({
      method: 'get',
      path: '/api/v1/setup',
      operationId: 'getSetup',
      summary: 'How far the set-up is',
      description: 'Addresses are shown while the set-up may be done without signing in, afterwards they are null.',
      tags,
      auth: 'public',
      limits: [PUBLIC_READS],
      responses: { 200: SetupState },
      errors: [],
      failureMessage: 'Failed to read the set-up',
      async handler({ deps, koa }) {
        const { isComplete, panels, siteName, addresses } = await readSetup(deps, { local: isLocalCaller(koa) });
        const components = {
          siteInfo: siteName !== null,
          pterodactylConfig: panels.pterodactyl,
          virtfusionConfig: panels.virtfusion,
        };
        return { status: 200, body: { success: true, isComplete, components, configured: { siteName, ...addresses } } };
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/setup',
      operationId: 'saveSetup',
      summary: 'Save a step of the set-up',
      description:
        'Absent fields stay as they are; null or an empty text clears a field that is no secret. Without signing in only while no system administrator exists, for an hour after the first start or after `setup open`; what the environment sets is then answered with 409. Afterwards fields that carry secrets, email or links need a system administrator: another administrator who changes one gets 403, and nothing is saved.',
      tags,
      auth: 'setup',
      invalid: { code: 'VALIDATION_ERROR', named: true },
      limits: [{ name: 'setup', max: 120, windowSeconds: 600, by: byAddress }],
      body: SetupBody,
      responses: { 200: z.object({ success: z.literal(true), message: z.string() }) },
      errors: ['FORBIDDEN', 'CONFLICT'],
      failureMessage: 'Failed to save the set-up',
      audit: 'settings-changed',
      async handler(call) {
        const change = { editor: editorOf(call.caller), by: changedBy(call), storesDefaults: true };
        await changeSettings(call.deps, toSettings(call.input.body), change);
        return { status: 200, body: { success: true, message: 'Set-up saved' } };
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/setup/test',
      operationId: 'testSetupConnections',
      summary: 'Test the connection to a panel',
      description:
        'A connection that fails is a result, not an error. Without a key the known one is used, if it was entered for the origin of the URL. Of Pterodactyl each right that the sync needs is tried, and the known client API key. A right that is missing, or a client key that is refused, is a failure.',
      tags,
      auth: 'setup',
      audit: { none: 'tests a connection' },
      // The caller decides where this machine connects to.
      limits: [{ name: 'setup-test', max: 60, windowSeconds: 600, by: byAddress }],
      body: TestBody,
      responses: {
        200: z.object({
          success: z.literal(true),
          testResults: z.object({ pterodactyl: TestResult.optional(), virtfusion: TestResult.optional() }),
        }),
      },
      errors: [],
      failureMessage: 'Failed to test the connection',
      async handler({ input: { body }, caller, deps, koa }) {
        if (!PANELS.some((name) => namesPanel(body, name))) {
          throw new AppError('VALIDATION_ERROR', {
            publicMessage: 'pterodactylUrl or virtfusionUrl is required',
            details: [{ path: 'body.pterodactylUrl', message: 'is required' }],
          });
        }
        const { log, settings, config } = deps;
        const tester = {
          isSystemAdministrator: caller.kind === 'user' && isSystemAdministrator(caller.user),
          loopback: !config.production && isLocalCaller(koa),
        };
        const { resolve, timeoutMs = TEST_TIMEOUT_MS } = options;
        const connection = { log, known: await settings.known(), tester, timeoutMs, resolve };
        const testResults = await testNamedPanels(connection, body);
        return { status: 200, body: { success: true, testResults } };
      },
    }),
  ];
}

export const setupRoutes: Route[] = createSetupRoutes();
