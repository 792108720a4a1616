/** The descriptions in the configuration's schema agree with its behaviour. */
import { describe, expect, test } from 'vitest';
import { type Config, ConfigError, configVariables, loadConfig, loadDatabaseConfig } from '../../../src/config.ts';
import { Secret } from '../../../src/domain/secret.ts';

const VARIABLES = configVariables();
const NAMES = VARIABLES.map(({ name }) => name);

/** The configuration as text with its secrets in clear, so that two configurations can be compared. */
const revealed = (config: Config): string =>
  // `this[key]` is the value before `toJSON` masks it.
  JSON.stringify(config, function (this: Record<string, unknown>, key, value: unknown) {
    const original = this[key];
    return original instanceof Secret ? original.reveal() : value;
  });

/** Texts of which at least two are valid for each variable. */
const SAMPLES = [
  '101',
  '102',
  'true',
  'false',
  'warn',
  'error',
  '/one',
  '/two',
  'https://one.example',
  'https://two.example',
  'postgres://one/x',
  'postgres://two/x',
  'smtp://one.example',
  'smtp://two.example',
  'one.example',
  'two.example',
  'One <a@one.example>',
  'Two, Inc. <a@two.example>',
  '11'.repeat(32),
  '22'.repeat(32),
  'test',
  'development',
  'staging',
  'interval',
  'auto',
  'production',
];
/** A flag whose name ends like that of a secret. */
const FLAGS = ['HYTALE_EXPOSE_REFRESH_TOKEN'];
/** Variables that need another variable. */
const COMPANIONS: Record<string, Record<string, string>> = {
  TEMPORAL_TLS_CERT_PATH: { TEMPORAL_TLS_KEY_PATH: 'key.pem' },
  TEMPORAL_TLS_KEY_PATH: { TEMPORAL_TLS_CERT_PATH: 'cert.pem' },
};

/** The different configurations that the sample values of one variable give. */
function outcomes(name: string): Set<string> {
  const found = new Set<string>();
  for (const sample of SAMPLES) {
    try {
      found.add(revealed(loadConfig({ ...COMPANIONS[name], [name]: sample })));
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
    }
  }
  return found;
}

describe('the schema of the configuration', () => {
  test('describes every variable', () => {
    expect(VARIABLES.length).toBeGreaterThan(30);
    for (const { name, section, description } of VARIABLES) {
      expect(section, name).toMatch(/^[A-Z]/);
      expect(description, name).toMatch(/^\S.*[^.\s]$/);
    }
  });

  test('names every variable that is read from the environment, and no other', () => {
    const read = new Set<string>();
    const record = (name: string | symbol): void => {
      if (typeof name === 'string') read.add(name);
    };
    loadConfig(
      new Proxy<Record<string, string | undefined>>(
        {},
        {
          get: (_target, name) => record(name),
          has: (_target, name) => {
            record(name);
            return false;
          },
        },
      ),
    );
    expect([...read].toSorted()).toEqual(NAMES.toSorted());
  });

  test.each(NAMES)('%s has an effect on the configuration', (name) => {
    expect(outcomes(name).size).toBeGreaterThan(1);
  });

  test('masks the values of exactly its secrets, and every variable with the name of a secret is one', () => {
    for (const { name, secret, defaultText } of VARIABLES) {
      if (/(_KEY|_SECRET|_DSN|PASSWORD|_TOKEN)(_PREVIOUS)?$/.test(name) && !FLAGS.includes(name))
        expect(secret, name).toBe(true);
      expect(secret === true ? defaultText : undefined, name).toBeUndefined();
    }
    const secrets = VARIABLES.filter(({ secret }) => secret === true).map(({ name }) => name);
    const masked = NAMES.filter((name) =>
      SAMPLES.some((sample) => {
        try {
          return JSON.stringify(loadConfig({ ...COMPANIONS[name], [name]: sample })).includes('[redacted]');
        } catch {
          return false;
        }
      }),
    );
    expect(masked).toEqual(secrets);
  });

  test('an empty value counts as not set', () => {
    expect(loadConfig(Object.fromEntries(NAMES.map((name) => [name, ''])))).toEqual(loadConfig({}));
  });

  test('TEMPORAL_UI_URL is a page: an origin with a path, and nothing that a link must not have', () => {
    const uiUrl = (TEMPORAL_UI_URL: string) => loadConfig({ TEMPORAL_UI_URL }).temporal.uiUrl;
    expect([uiUrl(''), uiUrl(' https://UI.example:443/temporal/ ')]).toEqual([
      undefined,
      'https://ui.example/temporal',
    ]);
    expect(uiUrl('http://127.0.0.1:8233')).toBe('http://127.0.0.1:8233');
    for (const url of [
      'ui.example',
      'javascript:alert(1)',
      'https://a:b@ui.example',
      'https://ui.example/?a=1',
      'https://ui.example/#a',
    ]) {
      expect(() => uiUrl(url), url).toThrow('TEMPORAL_UI_URL: must be an http(s) URL without user, query and fragment');
    }
  });

  test('API_URL is an origin (S4)', () => {
    expect(loadConfig({}).email.apiUrl).toBeUndefined();
    expect(loadConfig({ API_URL: 'https://API.example:443/' }).email.apiUrl).toBe('https://api.example');
    for (const url of ['api.example', 'ftp://api.example', 'https://api.example/v1', 'https://a:b@api.example']) {
      expect(() => loadConfig({ API_URL: url })).toThrow('API_URL: must be an http(s) URL without a path');
    }
  });

  test('reports all problems together, without values', () => {
    const wrong = { DATABASE_URL: 'mysql://hunter2', SMTP_URL: 'hunter2', PORT: '-1', ENCRYPTION_KEY: 'hunter2' };
    expect(() => loadConfig(wrong)).toThrow(
      expect.objectContaining({
        problems: Object.keys(wrong)
          .toSorted((a, b) => NAMES.indexOf(a) - NAMES.indexOf(b))
          .map((name) => expect.stringMatching(new RegExp(`^${name}: (?!.*hunter2)`))),
      }),
    );
    expect(() => loadConfig({ ENV: 'production', BACKEND_API_KEY: 'short', TEMPORAL_TLS_KEY_PATH: 'x' })).toThrow(
      expect.objectContaining({
        problems: [
          expect.stringMatching(/^ENCRYPTION_KEY: /),
          expect.stringMatching(/^JWT_SECRET: /),
          expect.stringMatching(/^BACKEND_API_KEY: /),
          expect.stringMatching(/^TEMPORAL_TLS_CERT_PATH: /),
        ],
      }),
    );
  });
});

test('a sender without an address is a problem that names EMAIL_FROM; a usable one is read once (M-3)', () => {
  const problems = [expect.stringMatching(/^EMAIL_FROM: must be one sender/)];
  expect(() => loadConfig({ EMAIL_FROM: 'Example Hosting' })).toThrow(expect.objectContaining({ problems }));
  const { from } = loadConfig({ EMAIL_FROM: 'Example Hosting, Inc. <a@b.example>' }).email;
  expect(from).toEqual({ name: 'Example Hosting, Inc.', address: 'a@b.example' });
});

describe('what production demands (S9)', () => {
  const strong = (name: string): string =>
    name.startsWith('ENCRYPTION_KEY')
      ? Buffer.from(Array.from({ length: 32 }, (_, i) => i * 7)).toString('base64')
      : `a strong secret of ${name} 0123456789`;
  const complete = { JWT_SECRET: strong('JWT_SECRET'), ENCRYPTION_KEY: strong('ENCRYPTION_KEY') };
  const problemsOf = (env: Record<string, string>): readonly string[] => {
    try {
      loadConfig(env);
      return [];
    } catch (error) {
      if (error instanceof ConfigError) return error.problems;
      throw error;
    }
  };
  const WEAK: Record<string, string[]> = {
    ...Object.fromEntries(
      ['JWT_SECRET', 'NEXTAUTH_SECRET', 'BACKEND_API_KEY'].map((name) => [
        name,
        ['a', 'x'.repeat(31), 'k'.repeat(64), 'ab'.repeat(32), 'changeme'.repeat(4), '🔑'.repeat(20)],
      ]),
    ),
    ENCRYPTION_KEY: [Buffer.alloc(32).toString('base64'), '00'.repeat(32), 'ff'.repeat(32), '0123'.repeat(16)],
  };

  test.each(['production', 'staging'])('%s refuses each weak secret by name, also beside a strong one', (ENV) => {
    expect(problemsOf({ ...complete, ENV })).toEqual([]);
    for (const [name, values] of Object.entries(WEAK)) {
      expect(problemsOf({ ...complete, ENV, [name]: strong(name) }), name).toEqual([]);
      for (const value of values) {
        const problems = problemsOf({ ...complete, ENV, [name]: value });
        expect(problems, `${name}=${value}`).toEqual([expect.stringMatching(new RegExp(`^${name}: must .*${ENV}$`))]);
      }
    }
    // A rotation is the way out of a weak key, so it may stay as the previous one.
    expect(problemsOf({ ...complete, ENV, ENCRYPTION_KEY_PREVIOUS: '00'.repeat(32) })).toEqual([]);
    expect(problemsOf({ ENV })).toEqual([
      `ENCRYPTION_KEY: required when ENV=${ENV}`,
      `JWT_SECRET: required when ENV=${ENV} (or NEXTAUTH_SECRET)`,
    ]);
    expect(
      problemsOf({ ENV, NEXTAUTH_SECRET: strong('NEXTAUTH_SECRET'), ENCRYPTION_KEY: strong('ENCRYPTION_KEY') }),
    ).toEqual([]);
  });

  test.each(['development', 'test'])('%s takes weak secrets and names them for a warning', (ENV) => {
    const config = loadConfig({ ENV, JWT_SECRET: 'a', BACKEND_API_KEY: 'k'.repeat(40) });
    expect(config.production).toBe(false);
    expect(config.weakSecrets.map(({ name }) => name)).toEqual(['BACKEND_API_KEY', 'JWT_SECRET']);
  });

  test('a host of this machine for webhooks is refused in production, and one that is no host everywhere', () => {
    const of = (env: Record<string, string>) => loadConfig(env).discord;
    expect(of({})).toEqual({ hosts: ['gateway.nodebyte.host'], production: false });
    expect(of({ DISCORD_WEBHOOK_HOSTS: 'a.example, localhost:4100' }).hosts).toEqual(['a.example', 'localhost:4100']);
    expect(() => loadConfig({ ENV: 'production', DISCORD_WEBHOOK_HOSTS: 'a.example,127.0.0.1:4100' })).toThrow(
      /DISCORD_WEBHOOK_HOSTS: may not name this machine when ENV=production/,
    );
    for (const entry of ['https://a.example', 'a.example/x', '10.0.0.1', 'localhost', '*.example.com']) {
      expect(() => loadConfig({ DISCORD_WEBHOOK_HOSTS: entry })).toThrow(/DISCORD_WEBHOOK_HOSTS: each must be/);
    }
  });

  test('audit events are kept for ever, or for at least as long as the database demands', () => {
    for (const days of ['1', '29']) {
      expect(() => loadConfig({ AUDIT_RETENTION_DAYS: days })).toThrow(
        'AUDIT_RETENTION_DAYS: must be 0, or 30 or more',
      );
    }
    expect(['0', '30'].map((days) => loadConfig({ AUDIT_RETENTION_DAYS: days }).auditRetentionDays)).toEqual([0, 30]);
    expect(loadConfig({}).auditRetentionDays).toBe(365);
  });

  test('a pool in which the worker would wait for itself is refused, with the reason', () => {
    expect(() => loadConfig({ DATABASE_POOL_MAX: '3' })).toThrow(
      'DATABASE_POOL_MAX: must be 4 or more: the outbox relay and a merge each hold a connection',
    );
    expect(loadConfig({ DATABASE_POOL_MAX: '4' }).databasePoolMax).toBe(4);
    expect(loadConfig({}).databasePoolMax).toBeUndefined();
  });

  test.each(['Production', 'PRODUCTION', 'prod', 'live', 'stage', 'dev'])(
    'ENV=%s is refused, not read as development',
    (ENV) => {
      for (const load of [loadConfig, loadDatabaseConfig]) {
        expect(() => load({ ...complete, ENV })).toThrow(
          'ENV: must be one of development, test, staging, production, in lower case',
        );
      }
    },
  );

  test('outside production the api listens on loopback and a local page may call it, by default', () => {
    const [development, production] = [{}, { ...complete, ENV: 'production' }].map((env) => loadConfig(env));
    expect([development?.host, production?.host]).toEqual(['127.0.0.1', '0.0.0.0']);
    expect(loadConfig({ BACKEND_HOST: '0.0.0.0' }).host).toBe('0.0.0.0');
    expect(development?.corsOrigins).toEqual(['http://localhost:3000', 'https://nodebyte.host']);
    expect(production?.corsOrigins).toEqual(['https://nodebyte.host']);
    expect(loadConfig({ ...complete, ENV: 'staging' })).toMatchObject({
      production: true,
      host: '0.0.0.0',
      corsOrigins: ['https://nodebyte.host'],
    });
  });
});
