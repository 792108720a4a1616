/**
 * Tests of the connections that settings are for. Each is real and bounded in time. A connection that fails is a result
 * with a sentence of our own; a test never throws.
 */
import { withDeadline } from '../../deadline.ts';
import { isAppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import type { Db } from '../../store/db/db.ts';
import { serverVersion } from '../../store/db/server-version.ts';
import { checkTransport } from '../email/check-transport.ts';
import type { ClientKeyFinding, RightFinding } from './panel-rights.ts';
import { resolveSettings } from './runtime-settings.ts';
import { isKnown, urlOf, withheldSecrets } from './secret-origins.ts';
import type { PanelName } from './setup.ts';
import { type ConnectionDeps, testPanel } from './test-connections.ts';

export const CONNECTION_NAMES = ['pterodactyl', 'virtfusion', 'database', 'email', 'temporal'] as const;
export type ConnectionName = (typeof CONNECTION_NAMES)[number];

export interface Connection {
  success: boolean;
  /** Milliseconds; absent when it failed. */
  latency?: number;
  error?: string;
  /** What the keys of a panel may read; absent where that was not asked. */
  rights?: RightFinding[];
  clientKey?: ClientKeyFinding | null;
}

export interface ConnectionTestDeps extends ConnectionDeps {
  db: Db;
  temporal: { state(timeoutMs: number): Promise<'ok' | 'no answer' | 'no namespace'> };
}

/** URL and key of a panel as they were typed. Absent: those in force; an empty URL is none. */
export interface TypedPanel {
  url?: string | undefined;
  apiKey?: Secret | undefined;
  /** Find out what the keys may read, too. */
  rights?: boolean;
}

const NAMES: Record<PanelName, string> = { pterodactyl: 'Pterodactyl', virtfusion: 'Virtfusion' };
/** What is said of a test that ended in no way of its own, for example because it took too long. */
const NO_ANSWER: Record<ConnectionName, string> = {
  pterodactyl: 'The panel did not answer in time',
  virtfusion: 'VirtFusion did not answer in time',
  database: 'Database connection failed',
  email: 'The email server did not answer in time',
  temporal: 'Temporal does not answer',
};

/** Tests one connection. @param typed only for a panel. */
export async function testConnection(
  deps: ConnectionTestDeps,
  name: ConnectionName,
  typed: TypedPanel = {},
): Promise<Connection> {
  const begun = performance.now();
  try {
    const { error, ...found } = await withDeadline(outcomeOf(deps, name, typed), deps.timeoutMs);
    if (error !== undefined) return { success: false, error, ...found };
    return { success: true, latency: Math.round(performance.now() - begun), ...found };
  } catch (error) {
    deps.log.info({ connection: name, err: error }, 'connection test failed');
    return { success: false, error: isAppError(error) ? error.message : NO_ANSWER[name] };
  }
}

/** Why a connection cannot be used, without `error` when it can, and what else was found out. */
type Outcome = Pick<Connection, 'error' | 'rights' | 'clientKey'>;
const failure = (error: string | undefined): Outcome => (error === undefined ? {} : { error });

async function outcomeOf(deps: ConnectionTestDeps, name: ConnectionName, typed: TypedPanel): Promise<Outcome> {
  if (name === 'pterodactyl' || name === 'virtfusion') return panelOutcome(deps, name, typed);
  if (name === 'email') return failure(await emailProblem(deps));
  if (name === 'temporal') {
    const state = await deps.temporal.state(deps.timeoutMs);
    if (state === 'ok') return {};
    return failure(state === 'no namespace' ? 'The Temporal namespace does not exist' : NO_ANSWER.temporal);
  }
  await serverVersion(deps.db);
  return {};
}

async function panelOutcome(deps: ConnectionTestDeps, name: PanelName, typed: TypedPanel): Promise<Outcome> {
  const { known } = deps;
  const { url, apiKey, rights = false } = typed;
  const key = `${name}_api_key` as const;
  const present = url ?? urlOf(name, known);
  if (url === undefined && apiKey === undefined) {
    if (known.stored.unreadable.includes(key)) {
      return failure('The stored API key cannot be decrypted: enter it again');
    }
    if (present === undefined || !isKnown(key, known)) return failure(`${NAMES[name]} credentials not configured`);
    if (withheldSecrets(known).includes(key)) {
      return failure('The API key was entered for another URL, so it is not sent: enter it again');
    }
  }
  if (!present) return failure(`${NAMES[name]} credentials not configured`);
  const tested = await testPanel(deps, { name, url: present, apiKey, rights });
  return {
    ...failure(tested.success ? undefined : (tested.error ?? NO_ANSWER[name])),
    ...(tested.rights === undefined ? {} : { rights: tested.rights }),
    ...(tested.clientKey === undefined ? {} : { clientKey: tested.clientKey }),
  };
}

async function emailProblem({ known, timeoutMs }: ConnectionTestDeps): Promise<string | undefined> {
  const { email } = resolveSettings(known.config, known.stored);
  if (email.from === undefined) return 'The sender of email (emailFrom) is not a sender, so no email is sent';
  const found = await checkTransport(known.config.email, email, timeoutMs);
  return found === undefined ? 'Email is not configured: set a Resend API key or an SMTP URL' : undefined;
}
