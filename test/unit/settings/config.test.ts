/** The descriptions in the configuration's schema agree with its behaviour. */
import { describe, expect, test } from 'vitest';
import { type Config, ConfigError, configVariables, loadConfig } from '../../../src/config.ts';
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
  '11'.repeat(32),
  '22'.repeat(32),
];
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
      if (/(_KEY|_SECRET|_DSN|PASSWORD|_TOKEN)(_PREVIOUS)?$/.test(name)) expect(secret, name).toBe(true);
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
