/** The floor of an HTTP answer: `node:http` alone, with the same short JSON for all. It sends its URL over IPC. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ReadyMessage } from '../../src/embedded/process-group.ts';

const BODY = JSON.stringify({ success: true, data: { servers: 3 } });

const server = createServer((_request, response) => {
  response.writeHead(200, { 'Content-Type': 'application/json; charset=utf-8' }).end(BODY);
});
process.on('disconnect', () => process.exit(0));
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  const ready: ReadyMessage = { ready: true, url: `http://127.0.0.1:${port}` };
  process.send?.(ready);
});
