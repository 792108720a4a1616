/** The fields of the first-run wizard: what they may hold and under which key each is stored. */
import { z } from 'zod';
import { withoutApiPath } from '../../../domain/panel/base-url.ts';
import { Secret } from '../../../domain/secret.ts';
import { SECRET_MASK, type SettingKey } from '../../../domain/settings.ts';
import { webAddressProblem } from '../../../domain/web-address.ts';
import type { PanelName } from '../../../services/settings/setup.ts';
import { documentedAs } from '../../http/fields.ts';

/** Characters of a URL or a secret, and of any other text. */
const MAX_LONG = 2048;
const MAX_SHORT = 255;
const BULLET = SECRET_MASK.charAt(0);

const text = (max: number) =>
  z
    .string()
    .trim()
    .max(max, `may have at most ${max} characters`)
    .regex(/^\P{Cc}*$/u, 'holds control characters');

const webAddress = (options: { base: boolean }) =>
  text(MAX_LONG).superRefine((value, ctx) => {
    const message = value === '' ? undefined : webAddressProblem(value, options);
    if (message !== undefined) ctx.addIssue({ code: 'custom', message });
  });
const baseAddress = () => webAddress({ base: true });

const withoutSlash = (value: string): string => value.replace(/\/+$/, '');
/** Absent: leave it; null or empty: clear it. */
const clearable = (value: string | null | undefined): string | undefined => (value === null ? '' : value);
const documented = (maxLength: number, more: Record<string, unknown> = {}) =>
  documentedAs({ type: ['string', 'null'], maxLength, ...more });

const Text = (max: number) => text(max).nullish().transform(clearable).meta(documented(max));
const WebAddress = webAddress({ base: false })
  .nullish()
  .transform(clearable)
  .meta(documented(MAX_LONG, { format: 'uri' }));
const SiteAddress = baseAddress()
  .transform(withoutSlash)
  .nullish()
  .transform(clearable)
  .meta(documented(MAX_LONG, { format: 'uri' }));
/** A panel's URL in the form it is stored in: often the address of its API is entered. */
const PanelAddress = baseAddress()
  .transform(withoutApiPath)
  .nullish()
  .transform(clearable)
  .meta(documented(MAX_LONG, { format: 'uri' }));

/** A secret; absent, null, empty and the mask leave the stored one alone. */
const SecretText = text(MAX_LONG)
  .refine((value) => value === SECRET_MASK || !value.includes(BULLET), {
    error: 'holds a part of the mask: give it whole',
    abort: true,
  })
  .refine((value) => value === SECRET_MASK || /^[\x21-\x7e]*$/.test(value), 'holds characters that no key has')
  .nullish()
  .transform((value) =>
    value === undefined || value === null || value === '' || value === SECRET_MASK ? undefined : new Secret(value),
  )
  .meta(documented(MAX_LONG, { writeOnly: true, description: 'Empty, null or the mask leave it unchanged' }));

/** Body of a save: the fields of any step. Clear texts are '' where they are to be cleared. */
export const SetupBody = z.object({
  siteName: Text(MAX_SHORT),
  siteUrl: SiteAddress,
  faviconUrl: WebAddress,
  pterodactylUrl: PanelAddress,
  pterodactylApiKey: SecretText,
  pterodactylApi: Text(MAX_LONG),
  virtfusionUrl: PanelAddress,
  virtfusionApiKey: SecretText,
  virtfusionApi: Text(MAX_LONG),
  githubToken: SecretText,
  resendApiKey: SecretText,
  crowdinProjectId: Text(MAX_SHORT),
  crowdinPersonalToken: SecretText,
});
export type SetupFields = z.output<typeof SetupBody>;

const KEYS = {
  siteName: 'site_name',
  siteUrl: 'site_url',
  faviconUrl: 'favicon_url',
  pterodactylUrl: 'pterodactyl_url',
  pterodactylApiKey: 'pterodactyl_api_key',
  pterodactylApi: 'pterodactyl_api',
  virtfusionUrl: 'virtfusion_url',
  virtfusionApiKey: 'virtfusion_api_key',
  virtfusionApi: 'virtfusion_api',
  githubToken: 'github_token',
  resendApiKey: 'resend_api_key',
  crowdinProjectId: 'crowdin_project_id',
  crowdinPersonalToken: 'crowdin_personal_token',
} as const satisfies Record<keyof SetupFields, SettingKey>;

/** The rows to write: fields that were given, secrets in clear for the store to encrypt. */
export function toSettings(fields: SetupFields): Partial<Record<SettingKey, string>> {
  const values: Partial<Record<SettingKey, string>> = {};
  for (const [field, key] of Object.entries(KEYS) as [keyof SetupFields, SettingKey][]) {
    const value = fields[field];
    if (value !== undefined) values[key] = value instanceof Secret ? value.reveal() : value;
  }
  return values;
}

/** Answer about how far the set-up is. */
export const SetupState = z.object({
  success: z.literal(true),
  isComplete: z.boolean().meta({ description: 'A panel has both its URL and its key' }),
  components: z.object({ siteInfo: z.boolean(), pterodactylConfig: z.boolean(), virtfusionConfig: z.boolean() }),
  configured: z.object({
    siteName: z.string().nullable(),
    siteUrl: z.string().nullable(),
    faviconUrl: z.string().nullable(),
    pterodactylUrl: z.string().nullable(),
    virtfusionUrl: z.string().nullable(),
  }),
});

/** A field as it was typed: what is wrong with it is the result of the test, not an error of the request. */
const Typed = z.unknown().optional().meta(documented(MAX_LONG));
/** Body of a connection test: one panel or both. */
export const TestBody = z.object({
  testConnections: z.unknown().optional(),
  pterodactylUrl: Typed,
  pterodactylApiKey: Typed,
  virtfusionUrl: Typed,
  virtfusionApiKey: Typed,
});

/** Whether the body of a test names a panel, by its URL or its key. */
export const namesPanel = (body: z.output<typeof TestBody>, name: PanelName): boolean =>
  body[`${name}Url`] !== undefined || body[`${name}ApiKey`] !== undefined;

const PanelAccess = z.object({ url: PanelAddress, apiKey: SecretText });
/** URL and key of a panel as they were typed, or what is wrong with them, as a sentence. */
export function readPanel(
  url: unknown,
  apiKey: unknown,
): { url: string | undefined; apiKey: Secret | undefined } | { problem: string } {
  const parsed = PanelAccess.safeParse({ url, apiKey });
  if (parsed.success) return { url: parsed.data.url, apiKey: parsed.data.apiKey };
  const [issue] = parsed.error.issues;
  return {
    problem: `${issue?.path[0] === 'apiKey' ? 'The API key' : 'The URL'}: ${issue?.message ?? 'cannot be used'}`,
  };
}

/** How one panel's test ended. */
export const TestResult = z
  .object({
    success: z.boolean(),
    latency: z.int().min(0).nullable().meta({ description: 'Milliseconds; null when nothing was sent' }),
    serverCount: z.int().min(0).nullable().meta({ description: 'Null when the panel does not say' }),
    error: z.string().nullable(),
  })
  .meta({ id: 'ConnectionTest' });
