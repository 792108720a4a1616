/** Helpers for tests of the set-up wizard: panels, apis over one database, and requests to its routes. */
import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { expect } from 'vitest';
import { type PanelSimulator, startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import { createApp } from '../../../src/api/app.ts';
import { createHttpServer } from '../../../src/api/http/http-server.ts';
import { createSettingsRoutes } from '../../../src/api/routes/admin/settings.ts';
import { createSetupRoutes, type SetupRouteOptions } from '../../../src/api/routes/setup/setup.ts';
import { loadConfig } from '../../../src/config.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { createSettings } from '../../../src/services/settings/settings.ts';
import { createEncryption, type Encryption } from '../../../src/store/db/encryption.ts';
import { query } from '../../../src/store/db/query.ts';
import { noteFirstStart } from '../../../src/store/settings/setup-window-store.ts';
import { createTestDatabase, type TestDatabase } from '../database.ts';
import { type RawServer, startRawServer } from '../panel.ts';
import {
  API_KEY,
  type ApiResponse,
  bearer,
  type Harness,
  JWT_SECRET,
  json,
  makeUser,
  startHarness,
} from './harness.ts';

export const SAVE = '/api/v1/setup';
export const TEST = '/api/v1/setup/test';
/** The key that the simulated VirtFusion accepts. */
export const VF_KEY = 'vf-key-0123456789';
const ENCRYPTION_KEY = randomBytes(32).toString('base64');

export interface Wizard {
  database: TestDatabase;
  sim: PanelSimulator;
  virtfusion: RawServer;
  encryption: Encryption;
  /** Starts an api over the shared database with these environment variables. */
  start(env?: Record<string, string>): Promise<Harness>;
  /** Starts a server with the routes of settings only, with the test's own resolver or timeout. @returns its URL. */
  startAlone(harness: Harness, options: SetupRouteOptions): Promise<string>;
  /** Starts a server with one handler. */
  serve(handler: Parameters<typeof startRawServer>[0]): Promise<RawServer>;
  /** The stored value of a setting. */
  stored(key: string): Promise<string | undefined>;
  /** Stores a text as another program would. */
  put(key: string, value: string): Promise<void>;
  /** Headers of a system administrator. */
  administrator(): Promise<Record<string, string>>;
  /** Fields of the simulated panel. */
  panel(): { pterodactylUrl: string; pterodactylApiKey: string };
  /** Restores the state before a test: a new installation has just been started, and no request was sent. */
  empty(): Promise<void>;
  /** Ends the apis and servers that a test started. */
  closeAll(): Promise<void>;
  stop(): Promise<void>;
}

export async function prepareWizard(): Promise<Wizard> {
  const [database, sim, virtfusion] = await Promise.all([
    createTestDatabase(),
    startPanelSimulator({ servers: 7, limit: 0 }),
    startRawServer((request, response) => {
      const good = request.url === '/api/v1/connect' && request.headers.authorization === `Bearer ${VF_KEY}`;
      response.writeHead(good ? 200 : 401, { 'content-type': 'application/json' });
      response.end('{"said":"upstream-body"}');
    }),
  ]);
  const { db } = database;
  const closers: (() => Promise<void>)[] = [];
  const closeAll = async () => {
    for (const close of closers.splice(0).reverse()) await close();
  };
  return {
    database,
    sim,
    virtfusion,
    encryption: createEncryption({ key: new Secret(ENCRYPTION_KEY) }),
    async start(env = {}) {
      const config = loadConfig({ JWT_SECRET, BACKEND_API_KEY: API_KEY, ENCRYPTION_KEY, ...env });
      const settings = createSettings({ db, config, encryption: createEncryption({ key: config.encryptionKey }) });
      const harness = await startHarness({ database, deps: { config, settings } });
      closers.push(harness.close);
      return harness;
    },
    async startAlone(harness, options) {
      const server = createHttpServer(
        createApp(harness.deps, [...createSetupRoutes(options), ...createSettingsRoutes(options)]),
      );
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      closers.push(async () => {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      });
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    async serve(handler) {
      const server = await startRawServer(handler);
      closers.push(server.close);
      return server;
    },
    async stored(key) {
      const [row] = await query<{ value: string }>(db, 'select c.value from config c where c.key = ?', [key]);
      return row?.value;
    },
    async put(key, value) {
      await db.raw(
        'insert into config (id, key, value) values (?, ?, ?) on conflict (key) do update set value = excluded.value',
        [key, key, value],
      );
    },
    administrator: async () => bearer((await makeUser({ database }, { isSystemAdmin: true })).token),
    panel: () => ({ pterodactylUrl: sim.url, pterodactylApiKey: sim.keys.full }),
    async empty() {
      for (const table of ['config', 'setting_entries', 'setup_window', 'users', 'rate_limits'])
        await db.raw('delete from ??', [table]);
      await noteFirstStart(db);
      sim.clearRequests();
      virtfusion.requests.length = 0;
    },
    closeAll,
    async stop() {
      await closeAll();
      await Promise.all([sim.close(), virtfusion.close()]);
      await database.drop();
    },
  };
}

export const save = (api: Harness, body: unknown, headers: Record<string, string> = {}): Promise<ApiResponse> =>
  api.get(SAVE, json(body, headers));

export const state = async (api: Harness): Promise<unknown> => (await api.get(SAVE)).json();

/** The answer to a connection test, which must be 200. */
export async function tested(api: Harness, body: object, headers: Record<string, string> = {}): Promise<unknown> {
  const response = await api.get(TEST, json({ testConnections: true, ...body }, headers));
  expect(response.status).toBe(200);
  return response.json();
}
