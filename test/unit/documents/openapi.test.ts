import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, test } from 'vitest';
import { createOpenApiDocument, errorCodesOf } from '../../../src/api/http/openapi.ts';
import { routes } from '../../../src/api/routes/index.ts';
import { ERRORS } from '../../../src/domain/errors.ts';

const document = JSON.parse(JSON.stringify(createOpenApiDocument(routes, '1.2.3')));

describe('OpenAPI document', () => {
  test('is valid OpenAPI 3.1', async () => {
    const validator = new Validator();
    expect(await validator.validate(structuredClone(document))).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
    expect(document.info.version).toBe('1.2.3');
  });

  test.each(routes.map((route) => [`${route.method} ${route.path}`, route] as const))('%s', (_title, route) => {
    const operation = document.paths[route.path.replace(/:(\w+)/g, '{$1}')][route.method];
    expect(operation.operationId).toBe(route.operationId);
    expect(operation.security.length > 0).toBe(route.auth !== 'public');
    for (const code of errorCodesOf(route)) expect(operation.responses).toHaveProperty(String(ERRORS[code].status));
    if (route.body !== undefined) expect(operation.requestBody.content['application/json'].schema.type).toBe('object');
    const inPath = [...route.path.matchAll(/:(\w+)/g)].map((match) => match[1]);
    const declared = (operation.parameters ?? []).filter((p: { in: string }) => p.in === 'path');
    expect(declared.map((p: { name: string }) => p.name)).toEqual(inPath);
  });

  test('inputs are described as what to send', () => {
    const limit = document.paths['/api/admin/sync/logs'].get.parameters.find(
      (p: { name: string }) => p.name === 'limit',
    );
    expect(limit).toMatchObject({ in: 'query', schema: { type: 'integer', minimum: 1, maximum: 500, default: 20 } });
    expect(limit.required ?? false).toBe(false);
    const { properties } =
      document.paths['/api/admin/sync/settings'].post.requestBody.content['application/json'].schema;
    expect(properties.sync_interval).toEqual({ type: 'integer', minimum: 60 });
  });

  test('names no host and no key', () => {
    expect(JSON.stringify(document)).not.toMatch(/https?:\/\/(?!spdx)/);
  });
});
