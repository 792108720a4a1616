/**
 * A simulated Pterodactyl panel: a real HTTP server over generated data, with the panel's throttle, errors and oddities,
 * with faults on demand, and with a log of the received requests.
 */
import type { Server } from 'node:http';
import { handleAdmin } from './admin.ts';
import { createSerializer } from './api/serialize.ts';
import type { PanelSimulator, PanelSimulatorOptions, SimulatorSettings } from './contract.ts';
import { startDaemon } from './daemon/daemon.ts';
import { dumpWorld } from './dump.ts';
import { createKeyRing, createThrottler } from './http/access.ts';
import { createFaults } from './http/faults.ts';
import type { ResponderParts } from './http/respond.ts';
import { clearLog, createPanelServer, createTraffic, type ServerParts } from './http/server.ts';
import { generateWorld } from './world/generate.ts';
import { DEFAULT_SIZES, type PanelSizes } from './world/sizes.ts';
import { createWorldStore } from './world/world.ts';

export type { PanelSimulator, PanelSimulatorOptions } from './contract.ts';

function sizesOf(options: PanelSimulatorOptions): PanelSizes {
  const sizes: PanelSizes = { ...DEFAULT_SIZES };
  const chosen: Partial<Record<string, unknown>> = { ...options };
  for (const name of Object.keys(DEFAULT_SIZES)) {
    const value = chosen[name];
    if (typeof value === 'number') Object.assign(sizes, { [name]: value });
  }
  return sizes;
}

const settingsOf = (options: PanelSimulatorOptions): SimulatorSettings => ({
  latencyMs: options.latencyMs ?? 0,
  limit: options.limit ?? 240,
  clientLimit: options.clientLimit ?? 720,
  windowMs: options.windowMs ?? 60_000,
  perPageMax: options.perPageMax,
  clockMs: options.clockMs,
  maintenance: options.maintenance,
  twoFactor: options.twoFactor ?? false,
});

/** The port on which the server listens. */
async function listen(server: Server, host: string, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const close = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

/** The methods of a simulator; `seed` and `sizes` say what `reset` generates. */
function createControls(
  { responder, faults, traffic }: Omit<ServerParts, 'admin'>,
  seed: number,
  sizes: PanelSizes,
): Omit<PanelSimulator, 'url' | 'close'> {
  const { settings, store, ring, throttler, daemon } = responder;
  return {
    keys: ring.keys,
    settings,
    world: store.world,
    faults,
    requests: traffic.requests,
    powerLog: responder.powerLog,
    daemon,
    console: (server) => daemon.console(server),
    clearRequests: () => clearLog(traffic),
    peakInFlight: () => traffic.peakInFlight,
    addKey: (key) => ring.add(key),
    create: (entity, values) => store.create(entity, values),
    update: (entity, id, values) => store.update(entity, id, values),
    delete: (entity, id) => store.delete(entity, id),
    touch: () => store.touch(),
    dump: () => dumpWorld(store),
    on(_event, hook) {
      traffic.hooks.push(hook);
      return () => {
        traffic.hooks = traffic.hooks.filter((other) => other !== hook);
      };
    },
    spend: (count, { api = 'application', userId = 1 } = {}) => throttler.spend(api, userId, count),
    reset() {
      faults.clear();
      traffic.hooks = [];
      clearLog(traffic);
      responder.powerLog.length = 0;
      throttler.reset();
      daemon.reset();
      store.clear(seed);
      generateWorld(store, sizes, seed);
    },
  };
}

/** Starts the simulator; it listens when the promise resolves. */
export async function startPanelSimulator(options: PanelSimulatorOptions = {}): Promise<PanelSimulator> {
  const seed = options.seed ?? 1;
  const sizes = sizesOf(options);
  const settings = settingsOf(options);
  const store = createWorldStore(seed);
  const serializer = createSerializer(store);
  generateWorld(store, sizes, seed);
  const ring = createKeyRing(seed, options.keys);
  const throttler = createThrottler(() => settings);
  const host = options.host ?? '127.0.0.1';
  const daemon = await startDaemon({ store, host, port: options.daemonPort ?? 0, seed });
  const responder: ResponderParts = { settings, store, serializer, ring, throttler, powerLog: [], daemon };
  const parts = { responder, faults: createFaults(), traffic: createTraffic() };
  const server = createPanelServer({
    ...parts,
    admin: (method, url, bodyText) => handleAdmin(simulator, method, url, bodyText),
  });
  const port = await listen(server, host, options.port ?? 0);
  const simulator: PanelSimulator = {
    ...createControls(parts, seed, sizes),
    url: `http://${host}:${port}`,
    async close() {
      await Promise.all([close(server), daemon.close()]);
    },
  };
  daemon.settings.panelLocation = simulator.url;
  return simulator;
}
