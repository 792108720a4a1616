/** What a new value of a setting may be, and the form in which it is stored. Every form that edits settings applies these rules. */
import { z } from 'zod';
import { isEmail } from './accounts/account.ts';
import { parseSender, SENDER_FORM } from './email-sender.ts';
import { parseWholeNumber } from './numbers.ts';
import { withoutApiPath } from './panel/base-url.ts';
import { AUTO_SYNC_MODES, BUDGET_SHARE, MIN_SYNC_INTERVAL_SECONDS, SECRET_MASK, type SettingKey } from './settings.ts';
import { webAddressProblem } from './web-address.ts';

/** Characters of a URL or a secret, and of any other text. */
export const MAX_LONG = 2048;
export const MAX_SHORT = 255;
/** Largest value of a number: that of a PostgreSQL `integer`. */
const MAX_INTEGER = 2_147_483_647;
const BULLET = SECRET_MASK.charAt(0);

type Rule = z.ZodType<string, string>;

const text = (max: number) =>
  z
    .string()
    .trim()
    .max(max, `may have at most ${max} characters`)
    .regex(/^\P{Cc}*$/u, 'holds control characters');

/** A text that is empty or has no problem. */
const checked = (max: number, problemOf: (value: string) => string | undefined) =>
  text(max).superRefine((value, ctx) => {
    const message = value === '' ? undefined : problemOf(value);
    if (message !== undefined) ctx.addIssue({ code: 'custom', message });
  });

const base = checked(MAX_LONG, (value) => webAddressProblem(value, { base: true }));
/** In the form in which it is stored: often the address of the panel's API is entered. */
const panelAddress: Rule = base.transform(withoutApiPath);

const HEADER_TEXT = /^[\x21-\x7e]*$/;
/** The mask is the value that leaves a secret as it is. */
const secret: Rule = text(MAX_LONG)
  .refine((value) => value === SECRET_MASK || !value.includes(BULLET), {
    error: 'holds a part of the mask: give it whole',
    abort: true,
  })
  .refine((value) => value === SECRET_MASK || HEADER_TEXT.test(value), 'holds characters that no key has');

const wholeNumber = (min: number, problem: string, max = MAX_INTEGER): Rule =>
  z
    .string()
    .trim()
    .refine((value) => value === '' || parseWholeNumber(value, { min, max }) !== undefined, problem)
    .transform((value) => (value === '' ? '' : String(Number(value))));

const switchText: Rule = z.enum(['true', 'false']).transform((value): string => value);

/** The rule of each setting that a form can hold, beside the list of repositories. */
export const SETTING_RULES = {
  site_name: text(MAX_SHORT),
  site_url: base.transform((value) => value.replace(/\/+$/, '')),
  favicon_url: checked(MAX_LONG, (value) => webAddressProblem(value, { base: false })),
  pterodactyl_url: panelAddress,
  pterodactyl_api_key: secret,
  pterodactyl_client_api_key: secret,
  pterodactyl_api: text(MAX_LONG),
  virtfusion_url: panelAddress,
  virtfusion_api_key: secret,
  virtfusion_api: text(MAX_LONG),
  cf_access_client_id: checked(MAX_LONG, (value) =>
    HEADER_TEXT.test(value) ? undefined : 'holds characters that no id has',
  ),
  cf_access_client_secret: secret,
  crowdin_project_id: text(MAX_SHORT),
  crowdin_personal_token: secret,
  github_token: secret,
  resend_api_key: secret,
  scalar_api_key: secret,
  admin_email: checked(MAX_SHORT, (value) => (isEmail(value) ? undefined : 'must be an email address')),
  email_from: checked(MAX_SHORT, (value) => (parseSender(value) ? undefined : `must be one sender: ${SENDER_FORM}`)),
  cache_timeout: wholeNumber(0, 'must be a whole number of seconds, 0 or more'),
  auto_sync_interval: wholeNumber(
    MIN_SYNC_INTERVAL_SECONDS,
    `must be a whole number of seconds, ${MIN_SYNC_INTERVAL_SECONDS} or more`,
  ),
  auto_sync_mode: text(MAX_SHORT).refine(
    (value) => ['', ...AUTO_SYNC_MODES].includes(value),
    `must be ${AUTO_SYNC_MODES.join(' or ')}`,
  ),
  auto_sync_budget_share: wholeNumber(
    BUDGET_SHARE.min,
    `must be a whole number of percent, ${BUDGET_SHARE.min} to ${BUDGET_SHARE.max}`,
    BUDGET_SHARE.max,
  ),
  auto_sync_enabled: switchText,
  registration_enabled: switchText,
  maintenance_mode: switchText,
  email_notifications_enabled: switchText,
  discord_notifications_enabled: switchText,
  sync_allow_mass_prune: switchText,
  webhook_dispatch_all: switchText,
} as const satisfies Partial<Record<SettingKey, Rule>>;

export const hasRule = (key: SettingKey): key is keyof typeof SETTING_RULES => Object.hasOwn(SETTING_RULES, key);
