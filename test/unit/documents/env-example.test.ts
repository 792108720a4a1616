import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { describe, expect, test } from 'vitest';
import { envExample, withConfigurationTable } from '../../../src/cli/support/env-example.ts';
import { loadConfig } from '../../../src/config.ts';
import { CONFIG_VARIABLES } from '../../../src/config-variables.ts';

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
/** Every line of the example in force. */
const uncommented = (): Record<string, string | undefined> =>
  parseEnv(envExample().replaceAll(/^# (?=[A-Z_]+=)/gm, ''));

describe('.env.example', () => {
  test('is what the table of variables gives', () => {
    expect(read('.env.example')).toBe(envExample());
  });

  test('names every variable that is read, and no other', () => {
    const source = read('src/config.ts');
    const schema = source.slice(source.indexOf('const Schema'), source.indexOf('export interface Config '));
    const variables = [...schema.matchAll(/^ {2}([A-Z][A-Z0-9_]+):/gm)].map((match) => match[1]);
    expect(variables.length).toBeGreaterThan(30);
    expect(CONFIG_VARIABLES.map((variable) => variable.name).sort()).toEqual(variables.toSorted());
    expect(Object.keys(uncommented()).sort()).toEqual(variables.toSorted());
  });

  test('copied as it is, it sets nothing', () => {
    expect(parseEnv(envExample())).toEqual({});
  });

  test('the values shown are the defaults', () => {
    expect(loadConfig(uncommented())).toEqual({ ...loadConfig({}), portGiven: true });
  });

  test('holds no secret', () => {
    for (const { name, secret, example } of CONFIG_VARIABLES) {
      expect(secret === true ? example : undefined, name).toBeUndefined();
      if (/(_KEY|_SECRET|_DSN|PASSWORD|_TOKEN)(_PREVIOUS)?$/.test(name)) expect(secret, name).toBe(true);
    }
  });
});

test('the table of docs/guide/configuration.md is current', () => {
  const guide = read('docs/guide/configuration.md');
  expect(withConfigurationTable(guide)).toBe(guide);
});
