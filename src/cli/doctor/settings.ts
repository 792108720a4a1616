/** What `doctor` finds out about the stored settings: which can be used, what they override, who may change them. */
import type { Config } from '../../config.ts';
import { withoutApiPath } from '../../domain/panel/base-url.ts';
import { Secret } from '../../domain/secret.ts';
import { readBoolean, SENT_SETTINGS } from '../../domain/settings.ts';
import {
  type KnownSettings,
  originOf,
  originOfUpgrade,
  urlOf,
  withheldSecrets,
} from '../../services/settings/secret-origins.ts';
import { setupStatus, storedWithoutSignIn } from '../../services/settings/setup-window.ts';
import type { Db } from '../../store/db/db.ts';
import { statusLines } from '../setup.ts';
import { printable } from '../support/terminal.ts';
import type { Check } from './check.ts';

const NAME = 'Settings';

/** Everything about the settings that a person should know. */
export const checkSettings = (known: KnownSettings): Check[] => [
  ...checkReadable(known),
  ...checkWithheld(known),
  ...checkUpgrade(known),
  ...checkOverrides(known),
];

function checkReadable({ stored: { unreadable } }: KnownSettings): Check[] {
  if (unreadable.length === 0) return [];
  return [
    {
      name: NAME,
      state: 'failed',
      detail: `cannot be decrypted: ${unreadable.join(', ')}`,
      advice: 'set ENCRYPTION_KEY (or ENCRYPTION_KEY_PREVIOUS) to the key with which they were stored',
    },
  ];
}

/** Secrets that stay here, because they were entered for another origin. */
function checkWithheld(known: KnownSettings): Check[] {
  return withheldSecrets(known).map((key): Check => {
    const url = urlOf(SENT_SETTINGS[key], known);
    const { stored, config } = known;
    const variable = config.environment[key]?.variable;
    const origin = stored.entries.get(key)?.origin;
    const reason = stored.values.has(key)
      ? `${key} was entered for ${origin === '' || origin === undefined || origin === null ? 'no URL' : origin}`
      : `${variable} is used with the URL of the environment only`;
    return {
      name: NAME,
      state: 'warning',
      detail: printable(`${reason}; it is not sent to ${url}`),
      advice: stored.values.has(key)
        ? 'enter the secret again together with its URL'
        : 'set the URL by its variable, or enter the secret in the settings together with the URL',
    };
  });
}

/** URLs from before the upgrade to which secrets of the environment still go. */
function checkUpgrade(known: KnownSettings): Check[] {
  const { environment } = known.config;
  return (['pterodactyl', 'virtfusion'] as const).flatMap((upstream): Check[] => {
    const origin = originOfUpgrade(upstream, known);
    const variable = environment[`${upstream}_api_key`]?.variable;
    if (origin === undefined || variable === undefined || known.stored.values.has(`${upstream}_api_key`)) return [];
    if (origin === originOf(environment[`${upstream}_url`]?.value.toString())) return [];
    return [
      {
        name: NAME,
        state: 'warning',
        detail: printable(`${variable} is sent to ${origin}, the URL that the database held before the upgrade`),
        advice: `set ${upstream.toUpperCase()}_URL to it; without that, another URL needs its key in the settings`,
      },
    ];
  });
}

/** Values of the database that differ from a variable that is set, which they override. */
function checkOverrides({ config, stored }: KnownSettings): Check[] {
  const overridden = Object.entries(config.environment).filter(([key, { value }]) => {
    const inDatabase = stored.values.get(key)?.trim() ?? '';
    return inDatabase !== '' && !sameValue(key, inDatabase, value instanceof Secret ? value.reveal() : value);
  });
  if (overridden.length === 0) return [];
  return [
    {
      name: NAME,
      state: 'warning',
      detail: `the database overrides ${overridden.map(([, { variable }]) => variable).join(', ')} with another value`,
      advice: 'check that a person of yours entered it; clear it in the settings to let the variable count',
    },
  ];
}

function sameValue(key: string, a: string, b: string): boolean {
  if (key === 'auto_sync_enabled') return readBoolean(a, false) === readBoolean(b, false);
  return key.endsWith('_url') ? withoutApiPath(a) === withoutApiPath(b) : a === b;
}

/** Whether the set-up needs no sign-in, until when, and what was stored in that time. */
export async function checkSetup(db: Db, config: Pick<Config, 'production' | 'env'>): Promise<Check> {
  const status = await setupStatus(db);
  const stored = await storedWithoutSignIn(db);
  const detail = [
    ...statusLines(status, { ENV: config.env }),
    ...(stored.length === 0 ? [] : [`stored without sign-in: ${stored.map(({ key }) => key).join(', ')}`]),
  ].join('; ');
  const check = { name: 'Set-up', detail };
  if (status.open) return { ...check, state: 'warning', advice: '`user create --admin` closes it' };
  return { ...check, state: 'ok' };
}
