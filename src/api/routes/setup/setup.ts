/**
 * `/api/v1/setup*`: the first-run wizard. Its calls are open until a panel is configured or an administrator exists;
 * what an unknown caller can make this machine connect to is bounded by the address guard.
 */
import { z } from 'zod';
import { type AddressGuard, createAddressGuard, type Resolver } from '../../../clients/http/address-guard.ts';
import { createPanelClient } from '../../../clients/panel/client.ts';
import { testConnection } from '../../../clients/virtfusion.ts';
import { AppError, isAppError } from '../../../domain/errors.ts';
import type { Secret } from '../../../domain/secret.ts';
import { systemAdministratorExists } from '../../../store/accounts/administrators.ts';
import type { Caller, Services } from '../../context.ts';
import { byAddress } from '../../http/limits.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { type ConfiguredPanel, configuredPanels, isComplete, isConfigured } from './setup-state.ts';
import {
  type ConnectionTest,
  readPanel,
  SetupBody,
  type SetupFields,
  TestBody,
  TestResult,
  toSettings,
} from './shapes.ts';

const tags = ['Setup'];
/** Milliseconds for the answer of a panel: somebody waits before a form. */
const TEST_TIMEOUT_MS = 5000;
/** Bytes of a panel's answer: one server with nothing included has less than 4 KB. */
const TEST_BODY_BYTES = 256 * 1024;

export interface SetupRouteOptions {
  /** Resolves the names of panels that are tested; default the operating system's. */
  resolve?: Resolver;
  /** Milliseconds for the answer of a panel; default 5000. */
  timeoutMs?: number;
}

interface TestCall {
  deps: Services;
  guard: AddressGuard;
  timeoutMs: number;
}

const sameOrigin = (a: string | undefined, b: string | undefined): boolean =>
  a !== undefined && b !== undefined && URL.canParse(a) && URL.canParse(b) && new URL(a).origin === new URL(b).origin;

/** Who may reach what: an administrator the operator's own networks, a stranger the public internet. */
function guardFor(caller: Caller, production: boolean, resolve: Resolver | undefined): AddressGuard {
  return createAddressGuard({
    ...(caller.kind === 'user' ? { policy: 'private' } : { policy: 'public', loopback: !production }),
    ...(resolve === undefined ? {} : { resolve }),
  });
}

/** Asks a Pterodactyl panel for one server: that needs the URL, the key and its most used right. */
async function askPterodactyl(call: TestCall, url: string, apiKey: Secret): Promise<number | null> {
  const { panelUrl, cfAccessClientId, cfAccessClientSecret } = await call.deps.settings.runtime();
  // The access proxy's secret goes where the stored URL points, and nowhere else.
  const trusted = sameOrigin(url, panelUrl);
  const client = createPanelClient({
    url,
    apiKey,
    guard: call.guard,
    timeoutMs: call.timeoutMs,
    maxBodyBytes: TEST_BODY_BYTES,
    ...(trusted && cfAccessClientId !== undefined ? { cfAccessClientId } : {}),
    ...(trusted && cfAccessClientSecret !== undefined ? { cfAccessClientSecret } : {}),
  });
  try {
    const { pagination } = await client.list('/servers', { page: 1, perPage: 1 });
    return pagination?.total ?? null;
  } finally {
    // Not waited for: the answer is known.
    client.close().catch(() => undefined);
  }
}

async function askVirtfusion(call: TestCall, url: string, apiKey: Secret): Promise<null> {
  await testConnection({ url, apiKey }, { guard: call.guard, timeoutMs: call.timeoutMs });
  return null;
}

/** Nothing was sent, for this reason. */
const untested = (error: string): ConnectionTest => ({ success: false, latency: null, serverCount: null, error });

/** Tests one panel; what goes wrong with the connection is a result, in words of ours. */
async function testPanel(
  call: TestCall,
  panel: { name: string; url: string; apiKey: Secret | undefined; known: ConfiguredPanel },
  ask: (call: TestCall, url: string, apiKey: Secret) => Promise<number | null>,
): Promise<ConnectionTest> {
  const apiKey = panel.apiKey ?? (sameOrigin(panel.url, panel.known.url) ? panel.known.apiKey : undefined);
  if (apiKey === undefined) {
    return untested('Enter the API key to test this URL');
  }
  const begun = performance.now();
  const latency = () => Math.round(performance.now() - begun);
  try {
    const serverCount = await ask(call, panel.url, apiKey);
    return { success: true, latency: latency(), serverCount, error: null };
  } catch (error) {
    if (!isAppError(error)) throw error;
    call.deps.log.info({ panel: panel.name, code: error.code, meta: error.meta }, 'connection test failed');
    const late = error.code === 'PANEL_UNAVAILABLE' && error.meta?.['kind'] === 'timeout';
    return {
      success: false,
      latency: error.code === 'ADDRESS_REFUSED' ? null : latency(),
      serverCount: null,
      error: late ? 'The panel did not answer in time' : error.message,
    };
  }
}

/**
 * A stranger who sets a new URL under a stored key would have the key sent to it.
 * @throws {AppError} VALIDATION_ERROR that names the key's field.
 */
function refuseUrlWithoutKey(fields: SetupFields, name: 'pterodactyl' | 'virtfusion', known: ConfiguredPanel): void {
  const url = fields[`${name}Url`];
  if (url === undefined || url === '' || fields[`${name}ApiKey`] !== undefined) return;
  if (known.apiKey === undefined || sameOrigin(url, known.url)) return;
  throw new AppError('VALIDATION_ERROR', {
    detail: `${name}ApiKey: a new URL needs its API key`,
    details: [{ path: `body.${name}ApiKey`, message: 'a new URL needs its API key' }],
  });
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
      responses: {
        200: z.object({
          success: z.literal(true),
          isComplete: z.boolean().meta({ description: 'A panel has both its URL and its key' }),
          components: z.object({
            siteInfo: z.boolean(),
            pterodactylConfig: z.boolean(),
            virtfusionConfig: z.boolean(),
          }),
          configured: z.object({
            siteName: z.string().nullable(),
            siteUrl: z.string().nullable(),
            faviconUrl: z.string().nullable(),
            pterodactylUrl: z.string().nullable(),
            virtfusionUrl: z.string().nullable(),
          }),
        }),
      },
      errors: [],
      failureText: 'Failed to read the set-up',
      async handler({ deps }) {
        const [administered, panels, { values }] = await Promise.all([
          systemAdministratorExists(deps.db),
          configuredPanels(deps),
          deps.settings.stored(['site_name', 'site_url', 'favicon_url']),
        ]);
        const open = !administered && !isComplete(panels);
        const siteName = values.get('site_name')?.trim() || null;
        const whileOpen = (value: string | undefined): string | null => (open ? (value ?? null) : null);
        return {
          status: 200,
          body: {
            success: true,
            isComplete: isComplete(panels),
            components: {
              siteInfo: siteName !== null,
              pterodactylConfig: isConfigured(panels.pterodactyl),
              virtfusionConfig: isConfigured(panels.virtfusion),
            },
            configured: {
              siteName,
              siteUrl: whileOpen(values.get('site_url')),
              faviconUrl: whileOpen(values.get('favicon_url')),
              pterodactylUrl: whileOpen(panels.pterodactyl.url),
              virtfusionUrl: whileOpen(panels.virtfusion.url),
            },
          },
        };
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/setup',
      operationId: 'saveSetup',
      summary: 'Save a step of the set-up',
      description:
        'Absent fields stay as they are; null or an empty text clears a field that is no secret. Without signing in only until a panel is configured or a system administrator exists.',
      tags,
      auth: 'setup',
      invalid: { code: 'VALIDATION_ERROR', named: true },
      body: SetupBody,
      responses: { 200: z.object({ success: z.literal(true), message: z.string() }) },
      errors: [],
      failureText: 'Failed to save the set-up',
      async handler({ input: { body }, caller, deps }) {
        if (caller.kind !== 'user') {
          const known = await configuredPanels(deps);
          refuseUrlWithoutKey(body, 'pterodactyl', known.pterodactyl);
          refuseUrlWithoutKey(body, 'virtfusion', known.virtfusion);
        }
        await deps.settings.save(toSettings(body));
        return { status: 200, body: { success: true, message: 'Set-up saved' } };
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/setup/test',
      operationId: 'testSetupConnections',
      summary: 'Test the connection to a panel',
      description:
        'A connection that fails is a result, not an error. Without a key the stored one is used, if the URL is of the stored origin.',
      tags,
      auth: 'setup',
      // It makes us call out to wherever the body says.
      limits: [{ name: 'setup-test', max: 60, windowSeconds: 600, by: byAddress }],
      body: TestBody,
      responses: {
        200: z.object({
          success: z.literal(true),
          testResults: z.object({ pterodactyl: TestResult.optional(), virtfusion: TestResult.optional() }),
        }),
      },
      errors: [],
      failureText: 'Failed to test the connection',
      async handler({ input: { body }, caller, deps }) {
        const named = (name: 'pterodactyl' | 'virtfusion') =>
          [`${name}Url`, `${name}ApiKey`].some(
            (field) => field in body && body[field as keyof typeof body] !== undefined,
          );
        if (!named('pterodactyl') && !named('virtfusion')) {
          throw new AppError('VALIDATION_ERROR', {
            detail: 'pterodactylUrl or virtfusionUrl is required',
            details: [{ path: 'body.pterodactylUrl', message: 'is required' }],
          });
        }
        const known = await configuredPanels(deps);
        const guard = guardFor(caller, deps.config.production, options.resolve);
        const call: TestCall = { deps, guard, timeoutMs: options.timeoutMs ?? TEST_TIMEOUT_MS };
        const test = async (name: 'pterodactyl' | 'virtfusion', ask: typeof askPterodactyl) => {
          if (!named(name)) return undefined;
          const typed = readPanel(body[`${name}Url`], body[`${name}ApiKey`]);
          if ('problem' in typed) return untested(typed.problem);
          if (!typed.url) return untested('Enter the URL of the panel');
          return testPanel(call, { name, url: typed.url, apiKey: typed.apiKey, known: known[name] }, ask);
        };
        const [pterodactyl, virtfusion] = await Promise.all([
          test('pterodactyl', askPterodactyl),
          test('virtfusion', askVirtfusion),
        ]);
        return {
          status: 200,
          body: {
            success: true,
            testResults: {
              ...(pterodactyl === undefined ? {} : { pterodactyl }),
              ...(virtfusion === undefined ? {} : { virtfusion }),
            },
          },
        };
      },
    }),
  ];
}

export const setupRoutes: Route[] = createSetupRoutes();
