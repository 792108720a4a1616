/** The Hytale of the demo: an account that signs in by itself, its game session for a server, and a link for a second account. */
import { sleep } from '../../embedded/process.ts';
import { printable, type Terminal } from '../support/terminal.ts';
import { type DemoApi, type DemoLogin, type DemoSession, SERVER_LOGS_PATH } from './api.ts';
import type { Panel } from './surroundings.ts';

/** Accounts of the simulated Hytale: the first one signs in by itself. */
const ACCOUNTS = ['Anna', 'Ben'] as const;
const POLL_MS = 500;
const LOGIN_TIMEOUT_MS = 30_000;
const PUSH_TIMEOUT_MS = 30_000;
const PULL_TIMEOUT_MS = 30_000;
/** Lines that the server has printed when its console is read first. */
const CONSOLE_LINES = 40;
/** How long the demo looks for the second account: as long as its code is good. */
const SECOND_ACCOUNT_MS = 600_000;

/** A demo never signs a real account in, whatever is configured: a simulated Hytale has the accounts. */
export interface GameProvider {
  /** Page of the accounts and of codes that wait. */
  url: string;
  /** Variables of api and worker. */
  variables: Record<string, string>;
  /** Enters the code on the page of the simulator, and approves it as the first account. */
  approve(userCode: string): Promise<void>;
  close(): Promise<void>;
}

/** Starts a simulated Hytale with two accounts. */
export async function openGameProvider(): Promise<GameProvider> {
  const { startHytaleSimulator } = await import('../../../simulators/hytale/simulator.ts');
  const hytale = await startHytaleSimulator();
  const [first] = ACCOUNTS.map((name) => hytale.addAccount({ name }));
  const { oauth, accountData, sessions } = hytale.hosts;
  return {
    url: oauth,
    variables: {
      HYTALE_ENVIRONMENT: '',
      HYTALE_USE_STAGING: '',
      HYTALE_VERIFY_TOKENS: '',
      HYTALE_SESSION_VARIABLES: '',
      HYTALE_IDENTITY_VARIABLES: '',
      HYTALE_OAUTH_BASE_URL: oauth,
      HYTALE_ACCOUNT_DATA_BASE_URL: accountData,
      HYTALE_SESSIONS_BASE_URL: sessions,
      HYTALE_ISSUER: hytale.issuer,
    },
    async approve(userCode) {
      const form = { user_code: userCode, account: first?.id ?? '', action: 'approve' };
      const body = new URLSearchParams(form);
      const { ok, status } = await fetch(`${oauth}/oauth2/device/verify`, { method: 'POST', body });
      if (!ok) throw new Error(`The page of the simulated Hytale answers ${status}`);
    },
    close: () => hytale.close(),
  };
}

/** Starts the sign-in of an account and approves it on the page. */
export async function beginSignIn(api: DemoApi, hytale: GameProvider): Promise<DemoLogin> {
  const login = await api.startHytaleLogin();
  await hytale.approve(login.userCode);
  return login;
}

/** Waits for the account, opens its session for a server, and shows what came to the variables of the server. */
export async function showGameSession(
  api: DemoApi,
  panel: Panel,
  { id }: DemoLogin,
  terminal: Terminal,
): Promise<void> {
  const login = await endedLogin(api, id, LOGIN_TIMEOUT_MS, () => true);
  if (login.accountId === null || login.status !== 'completed') {
    terminal.line(terminal.bad(`Hytale: the sign-in of ${ACCOUNTS[0]} ended: ${reasonOf(login)}`));
    return;
  }
  terminal.line(`Hytale: ${ACCOUNTS[0]} signed in on the simulated page`);
  const server = panel.hytaleServer;
  const serverId = server === undefined ? undefined : await api.serverId(server);
  const session = await pushedSession(api, await api.startHytaleSession(login.accountId, serverId));
  const of = server === undefined ? 'of no server' : `for ${printable(server.name)}`;
  terminal.line(`  game session ${of}: ${session.status}, ${pushOf(session)}`);
  for (const [name, length] of Object.entries(server?.lengths() ?? {})) {
    terminal.line(`  ${printable(name)} on the simulated panel: ${length} characters`);
  }
}

/** Lets the server print lines, has its console read, and says how many lines are stored and where. */
export async function showConsole(
  api: DemoApi,
  panel: Panel,
  { url, pull }: { url: string; pull: () => Promise<void> },
  terminal: Terminal,
): Promise<void> {
  const server = panel.hytaleServer;
  if (server === undefined) return;
  server.print(CONSOLE_LINES);
  // Not with the next run, which comes within five minutes.
  await pull();
  let stored = 0;
  for (let waitedMs = 0; stored === 0 && waitedMs < PULL_TIMEOUT_MS; waitedMs += POLL_MS) {
    stored = await api.storedLines(server.uuid);
    if (stored === 0) await sleep(POLL_MS);
  }
  const text = `  console of ${printable(server.name)}: ${stored} lines stored`;
  terminal.line(stored === 0 ? terminal.bad(text) : text);
  terminal.line(`  ${url}${SERVER_LOGS_PATH}?server_uuid=${server.uuid} (as the administrator)`);
}

/** The login when it has ended, or when the time is over. */
async function endedLogin(api: DemoApi, id: string, withinMs: number, goesOn: () => boolean): Promise<DemoLogin> {
  for (let waitedMs = 0; ; waitedMs += POLL_MS) {
    const login = await api.hytaleLogin(id);
    const waits = ['requested', 'pending', 'approved'].includes(login.status);
    if (!waits || waitedMs >= withinMs || !goesOn()) return login;
    await sleep(POLL_MS);
  }
}

/** The session when its tokens have been written to its server, or when that takes too long. */
async function pushedSession(api: DemoApi, id: string): Promise<DemoSession> {
  for (let waitedMs = 0; ; waitedMs += POLL_MS) {
    const session = await api.hytaleSession(id);
    if (session.push.status !== 'pending' || waitedMs >= PUSH_TIMEOUT_MS) return session;
    await sleep(POLL_MS);
  }
}

const reasonOf = ({ status, reason }: { status: string; reason: string | null }): string =>
  printable(reason === null ? status : `${status}: ${reason}`);

function pushOf({ push }: DemoSession): string {
  if (push.status === 'none') return 'nothing to write to a panel';
  return push.status === 'pushed'
    ? 'its tokens are on the panel'
    : `its tokens are not on the panel: ${reasonOf(push)}`;
}

/** Starts the sign-in of a second account, for a person. @returns the page where it is approved. */
export async function offerSecondAccount(api: DemoApi, terminal: Terminal, goesOn: () => boolean): Promise<string> {
  const login = await api.startHytaleLogin();
  const follow = async (): Promise<void> => {
    const ended = await endedLogin(api, login.id, SECOND_ACCOUNT_MS, goesOn);
    const what =
      ended.status === 'completed'
        ? 'the second account signed in'
        : `the sign-in of the second account ended: ${reasonOf(ended)}`;
    if (goesOn()) terminal.line(`Hytale: ${what}`);
  };
  // For show only: it neither ends the demo nor holds it up.
  follow().catch(() => undefined);
  return login.page;
}
