/** The recorded panel answers, servers that send one of them raw, and clients for the simulator. */
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { z } from 'zod';
import {
  type PanelSimulator,
  type PanelSimulatorOptions,
  startPanelSimulator,
} from '../../simulators/panel/simulator.ts';
import { createPanelClient, type PanelClient, type PanelClientOptions } from '../../src/clients/panel/client.ts';
import { Secret } from '../../src/domain/secret.ts';

const ExampleSchema = z.object({
  request: z.object({
    method: z.string(),
    path: z.string(),
    key: z.string().nullable(),
    accept: z.string().nullable(),
    body: z.unknown().optional(),
  }),
  status: z.number(),
  headers: z.record(z.string(), z.string()),
  body: z.unknown(),
});
/** One recorded exchange with a real panel. */
export type PanelExample = z.infer<typeof ExampleSchema> & { name: string };

const folder = new URL('../fixtures/pterodactyl/', import.meta.url);

/** All recorded exchanges, by file name without `.json`. */
export function panelExamples(): PanelExample[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => ({
      name: file.replace(/\.json$/, ''),
      ...ExampleSchema.parse(JSON.parse(readFileSync(new URL(file, folder), 'utf8'))),
    }));
}

/** Text of a recorded body as the panel sent it. */
export function exampleBody(example: PanelExample): string {
  const raw = z.object({ _not_json: z.string() }).safeParse(example.body);
  return raw.success ? raw.data._not_json : JSON.stringify(example.body);
}

export interface RawServer {
  url: string;
  requests: { method: string; url: string; headers: IncomingMessage['headers'] }[];
  close(): Promise<void>;
}

/** A server with one handler, for answers that no real panel gives. */
export async function startRawServer(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<RawServer> {
  const requests: RawServer['requests'] = [];
  const server = createServer((request, response) => {
    requests.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers });
    handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A client of a simulator, with its full application key and its admin's client key. */
export function clientOf(sim: PanelSimulator, options: Partial<PanelClientOptions> = {}): PanelClient {
  return createPanelClient({
    url: sim.url,
    guard: 'environment',
    apiKey: new Secret(sim.keys.full),
    clientApiKey: new Secret(sim.keys.client),
    ...options,
  });
}

/** A simulator with a client; `close` ends both. */
export async function startPanel(
  options: PanelSimulatorOptions = {},
): Promise<{ sim: PanelSimulator; client: PanelClient; close(): Promise<void> }> {
  const sim = await startPanelSimulator(options);
  const client = clientOf(sim);
  return {
    sim,
    client,
    async close() {
      await sim.close();
      await client.close();
    },
  };
}
