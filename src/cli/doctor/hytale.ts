/** What `doctor` finds out about Hytale: accounts and sessions for which a person must act, and the hosts. */
import type { HytaleClient, TokenVerifier } from '../../clients/hytale/answers.ts';
import type { Config } from '../../config.ts';
import { Secret } from '../../domain/secret.ts';
import type { Db } from '../../store/db/db.ts';
import { hytaleFigures } from '../../store/hytale/figures.ts';
import { type ConsoleFigures, consoleFigures } from '../../store/hytale/pull-reads.ts';
import { type Check, PROBE_TIMEOUT_MS } from './check.ts';

const NAME = 'Hytale';
/** A token that no host knows: a host that refuses it is there, and understands us. */
const UNKNOWN = new Secret('doctor');

const warning = (detail: string, advice: string): Check => ({ name: NAME, state: 'warning', detail, advice });

/** Accounts, sessions and hosts of the environment in use; nothing without an account, because then nothing is called. */
export async function checkHytale(db: Db, config: Config['hytale']): Promise<Check[]> {
  const { environment, hosts, issuer, verifyTokens } = config;
  const figures = await hytaleFigures(db, environment);
  const sum = (counts: Record<string, number>) => Object.values(counts).reduce((all, count) => all + count, 0);
  const accounts = sum(figures.accounts);
  if (accounts === 0) return [];
  const { createHytaleClient } = await import('../../clients/hytale/client.ts');
  const { createTokenVerifier } = await import('../../clients/hytale/token-verifier.ts');
  const client = createHytaleClient({ hosts, timeoutMs: PROBE_TIMEOUT_MS });
  const verifier = createTokenVerifier({ sessionsBase: hosts.sessions, issuer, enabled: verifyTokens });
  try {
    const problems = [
      ...rowProblems(figures),
      ...consoleProblems(await consoleFigures(db, environment)),
      ...(await checkHosts(client, verifyTokens ? verifier : undefined)),
    ];
    if (problems.length > 0) return problems;
    const detail = `${environment}, ${accounts} accounts, ${sum(figures.sessions)} sessions`;
    return [{ name: NAME, state: 'ok', detail }];
  } finally {
    client.close().catch(() => undefined);
  }
}

/** Consoles that cannot be read, and the reason that most of them have: it names a missing right, an address, or the node. */
function consoleProblems({ states, problem }: ConsoleFigures): Check[] {
  if (states.failed === 0) return [];
  return [
    warning(
      `the consoles of ${states.failed} servers cannot be read; most often: ${problem ?? 'the reason is not known'}`,
      'docs/guide/hytale.md, Pulling; `state` of GET /api/v1/hytale/server-logs has the reason of a server',
    ),
  ];
}

/** What the rows say. */
function rowProblems({ accounts, sessions, pushes }: Awaited<ReturnType<typeof hytaleFigures>>): Check[] {
  const list = 'hytale sessions, and docs/guide/hytale.md';
  const rows: [number | undefined, string, string][] = [
    [accounts['reauth_required'], 'accounts must be signed in again', 'hytale login'],
    [
      accounts['misconfigured'],
      'accounts are refused because of our client',
      'check HYTALE_ENVIRONMENT and HYTALE_OAUTH_BASE_URL',
    ],
    [
      sessions['limited'],
      'sessions wait for the limit of their account',
      'end sessions that are not used: hytale sessions',
    ],
    [sessions['lapsed'], 'sessions have expired: their account must be signed in again', 'hytale login'],
    [sessions['failed'], 'sessions cannot be created', list],
    [pushes['failed'], 'sessions have tokens that the panel refuses', list],
  ];
  return rows.flatMap(([count = 0, what, advice]) => (count > 0 ? [warning(`${count} ${what}`, advice)] : []));
}

/** Asks each host for something that it refuses, and the session host for its keys. @param verifier undefined: keys are not used. */
export async function checkHosts(
  client: Pick<HytaleClient, 'pollToken' | 'profiles'>,
  verifier: Pick<TokenVerifier, 'refresh'> | undefined,
): Promise<Check[]> {
  const answers = await Promise.all([client.pollToken(UNKNOWN), client.profiles(UNKNOWN)]);
  const details = answers.flatMap((answer) =>
    answer.outcome === 'unavailable' || answer.outcome === 'misconfigured' ? [answer.detail] : [],
  );
  const problem = (await verifier?.refresh())?.problem ?? null;
  if (problem !== null) details.push(problem);
  return details.map((detail) => warning(detail, 'check the network and the addresses of HYTALE_*_BASE_URL'));
}
