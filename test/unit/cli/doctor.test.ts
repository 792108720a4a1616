import { describe, expect, test } from 'vitest';
import { type ConfigRow, configRows } from '../../../src/cli/doctor/config.ts';
import { SECRET_MASK } from '../../../src/domain/settings.ts';

const none = new Set<string>();
const empty = new Map<string, string>();
const find = (rows: readonly ConfigRow[], name: string) => {
  const row = rows.find((one) => one.name === name);
  return [row?.origin, row?.value];
};

describe('doctor: origin and value of a variable', () => {
  test.each([
    ['BACKEND_PORT', {}, {}, empty, none, ['default', '8080']],
    ['BACKEND_PORT', { BACKEND_PORT: '' }, {}, empty, none, ['default', '8080']],
    ['BACKEND_PORT', { BACKEND_PORT: '9' }, {}, empty, none, ['environment', '9']],
    ['BACKEND_PORT', { BACKEND_PORT: '9' }, { BACKEND_PORT: '9' }, empty, none, ['.env', '9']],
    ['BACKEND_PORT', { BACKEND_PORT: '9' }, { BACKEND_PORT: '8' }, empty, none, ['environment', '9']],
    ['CACHE_DIR', {}, {}, empty, none, ['not set', '']],
    ['SITE_URL', { SITE_URL: 'a' }, {}, new Map([['site_url', 'b']]), none, ['database', 'b']],
    ['SITE_URL', { SITE_URL: 'a' }, {}, new Map([['site_url', '']]), none, ['environment', 'a']],
    ['JWT_SECRET', {}, {}, empty, new Set(['JWT_SECRET']), ['data folder', SECRET_MASK]],
    ['JWT_SECRET', { JWT_SECRET: 'x' }, {}, empty, none, ['environment', SECRET_MASK]],
    ['PTERODACTYL_URL', { PTERODACTYL_URL: 'https://u:p@h/x' }, {}, empty, none, ['environment', 'https://…@h/x']],
  ] as const)('%s of %j, .env %j', (name, env, dotEnv, stored, generated, expected) => {
    expect(find(configRows(env, dotEnv, stored, generated), name)).toEqual(expected);
  });
});
