import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { describe, expect, test } from 'vitest';
import { envExample, withConfigurationTable } from '../../../src/cli/support/env-example.ts';
import { configVariables, loadConfig } from '../../../src/config.ts';

const NAMES = configVariables().map(({ name }) => name);
const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
/** Every line of the example in force. */
const uncommented = (): Record<string, string | undefined> =>
  parseEnv(envExample().replaceAll(/^# (?=[A-Z_]+=)/gm, ''));

describe('.env.example', () => {
  test('is current (npm run env:example)', () => {
    expect(read('.env.example')).toBe(envExample());
  });

  test('names every variable', () => {
    expect(Object.keys(uncommented()).toSorted()).toEqual(NAMES.toSorted());
  });

  test('copied as it is, it sets nothing', () => {
    expect(parseEnv(envExample())).toEqual({});
  });

  test('the values shown are the defaults', () => {
    // A default that stands in the environment is one that the operator has set.
    expect({ ...loadConfig(uncommented()), environment: {} }).toEqual(loadConfig({}));
  });
});

test('the table of docs/guide/configuration.md is current', () => {
  const guide = read('docs/guide/configuration.md');
  expect(withConfigurationTable(guide)).toBe(guide);
});
