/** Checks answers against the OpenAPI document itself, not against the schemas from which it is generated. */
import { z } from 'zod';
import { createOpenApiDocument } from '../../../src/api/http/openapi.ts';
import { routes } from '../../../src/api/routes/index.ts';

type Json = { [key: string]: unknown };
const isJson = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

export const document = createOpenApiDocument(routes, '9.9.9');
const plain: Json = JSON.parse(JSON.stringify(document));

/** The document with its references replaced by their targets. */
function resolve(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(resolve);
  if (!isJson(node)) return node;
  const { $ref } = node;
  if (typeof $ref === 'string') return resolve(at(plain, $ref.slice(2).split('/')));
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, resolve(value)]));
}
function at(node: unknown, path: readonly string[]): unknown {
  let found = node;
  for (const key of path) found = isJson(found) ? found[key] : undefined;
  return found;
}

const checks = new Map<string, z.ZodType>();
const patterns = Object.keys(document.paths ?? {}).map((path) => ({
  path,
  pattern: new RegExp(`^${path.replace(/\{[^}]+\}/g, '[^/]+')}/?$`, 'i'),
}));

/** @throws {Error} when the document does not have this status, content type or body for the route. */
export async function checkAgainstDocument(method: string, url: string, response: Response): Promise<void> {
  const path = patterns.find(({ pattern }) => pattern.test(url.split('?')[0] ?? ''))?.path;
  const operation = path === undefined ? undefined : at(plain, ['paths', path, method.toLowerCase()]);
  if (path === undefined || operation === undefined) return;
  const where = `${method} ${path} ${response.status}`;
  const type = response.headers.get('content-type')?.split(';')[0] ?? '';
  const content = at(operation, ['responses', String(response.status), 'content']);
  const documented = isJson(content) ? Object.keys(content).find((key) => key.split(';')[0] === type) : undefined;
  const schema = documented === undefined ? undefined : at(content, [documented, 'schema']);
  if (type === 'application/problem+json') return;
  if (schema === undefined) throw new Error(`${where} ${type} is not in the document`);
  if (type !== 'application/json') return;
  const check = checks.get(where) ?? z.fromJSONSchema(resolve(schema) as Parameters<typeof z.fromJSONSchema>[0]);
  checks.set(where, check);
  const result = check.safeParse(await response.clone().json());
  if (!result.success) throw new Error(`${where} does not match the document: ${z.prettifyError(result.error)}`);
}
