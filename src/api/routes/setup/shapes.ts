/** The fields of the first-run wizard: what they may hold and under which key each is stored. */
import { z } from 'zod';
import { Secret } from '../../../domain/secret.ts';
import { MAX_LONG, MAX_SHORT, SETTING_RULES } from '../../../domain/setting-rules.ts';
import { SECRET_MASK, type SettingKey } from '../../../domain/settings.ts';
import { CLIENT_KEY_STATES, PANEL_RIGHTS, RIGHT_STATES } from '../../../services/settings/panel-rights.ts';
import type { PanelName } from '../../../services/settings/setup.ts';
import { documentedAs } from '../../http/fields.ts';

/** Absent: leave it; null or empty: clear it. */
const clearable = (value: string | null | undefined): string | undefined => (value === null ? '' : value);
const documented = (maxLength: number, more: Record<string, unknown> = {}) =>
  documentedAs({ type: ['string', 'null'], maxLength, ...more });

const clear = (rule: z.ZodType<string, string>) => rule.nullish().transform(clearable);
const Text = (rule: z.ZodType<string, string>, max: number) => clear(rule).meta(documented(max));
const WebAddress = (rule: z.ZodType<string, string>) => clear(rule).meta(documented(MAX_LONG, { format: 'uri' }));
const PanelAddress = WebAddress(SETTING_RULES.pterodactyl_url);

/** A secret; absent, null, empty and the mask leave the stored one alone. */
const SecretText = SETTING_RULES.pterodactyl_api_key
  .nullish()
  .transform((value) =>
    value === undefined || value === null || value === '' || value === SECRET_MASK ? undefined : new Secret(value),
  )
  .meta(documented(MAX_LONG, { writeOnly: true, description: 'Empty, null or the mask leave it unchanged' }));

/** Body of a save: the fields of any step. Clear texts are '' where they are to be cleared. */
export const SetupBody = z.object({
  siteName: Text(SETTING_RULES.site_name, MAX_SHORT),
  siteUrl: WebAddress(SETTING_RULES.site_url),
  faviconUrl: WebAddress(SETTING_RULES.favicon_url),
  pterodactylUrl: PanelAddress,
  pterodactylApiKey: SecretText,
  pterodactylApi: Text(SETTING_RULES.pterodactyl_api, MAX_LONG),
  virtfusionUrl: PanelAddress,
  virtfusionApiKey: SecretText,
  virtfusionApi: Text(SETTING_RULES.virtfusion_api, MAX_LONG),
  githubToken: SecretText,
  resendApiKey: SecretText,
  crowdinProjectId: Text(SETTING_RULES.crowdin_project_id, MAX_SHORT),
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
/** URL and key of the panels, as they were typed. */
export const PanelFields = z.object({
  pterodactylUrl: Typed,
  pterodactylApiKey: Typed,
  virtfusionUrl: Typed,
  virtfusionApiKey: Typed,
});
/** Body of a connection test: one panel or both. */
export const TestBody = z.object({ testConnections: z.unknown().optional(), ...PanelFields.shape });

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

/** What a test found out about the keys of a panel, beside whether it can be read. */
export const KeyFindings = {
  rights: z
    .array(
      z.object({
        right: z.enum(PANEL_RIGHTS),
        label: z.string().meta({ description: "Its name on the panel's page of API keys" }),
        needed: z.boolean().meta({ description: 'Without it a sync is not whole' }),
        purpose: z.string().meta({ description: 'What the sync reads with it' }),
        state: z.enum(RIGHT_STATES),
        reason: z.string().nullable().meta({ description: 'Why the state is unknown' }),
      }),
    )
    .optional()
    .meta({ description: 'What the API key may read; absent where that was not asked' }),
  clientKey: z
    .object({
      state: z.enum(CLIENT_KEY_STATES),
      message: z.string().nullable().meta({ description: 'What is wrong, or why the state is unknown' }),
    })
    .nullable()
    .optional()
    .meta({ description: 'What the client API key is; null without one, absent where that was not asked' }),
};

/** How one panel's test ended. */
export const TestResult = z
  .object({
    success: z.boolean(),
    latency: z.int().min(0).nullable().meta({ description: 'Milliseconds; null when nothing was sent' }),
    serverCount: z.int().min(0).nullable().meta({ description: 'Null when the panel does not say' }),
    error: z.string().nullable(),
    ...KeyFindings,
  })
  .meta({ id: 'ConnectionTest' });
