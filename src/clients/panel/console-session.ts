/** What is said over the WebSocket of a console: the token, the state, and readings of the last lines. */
import type { AppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import type { Socket } from '../http/websocket.ts';
import { ended, failed, late, refused, throttled } from './console-errors.ts';

/** The states of a server's process (environment/environment.go). */
const STATES = ['offline', 'starting', 'running', 'stopping'] as const;
export type ConsoleState = (typeof STATES)[number];

/** Limits of one connection to a console. */
export interface ConsoleLimits {
  /** Milliseconds until the connection must be open, and again until the daemon must have sent the state. */
  openMs: number;
  /** A reading ends when no line came for so long. */
  quietMs: number;
  /** But it lasts at least so long, because live lines can come before the last lines. */
  leastMs: number;
  /** It ends so long after its first line, also where lines come without a pause. */
  mostMs: number;
  /** It ends without a line after so long. */
  firstMs: number;
  /** Lines of one reading, and their characters. */
  maxLines: number;
  maxCharacters: number;
}

/** What one reading collected, oldest first: the last lines, and live lines between them and after them. */
export interface ConsoleTail {
  lines: string[];
  /** False: it ended at a limit of lines or characters, so later lines are missing. */
  complete: boolean;
}

/** An open connection. End it with `close`. */
export interface ServerConsole {
  /** The state that the daemon sent last. */
  readonly state: ConsoleState;
  /**
   * Asks for the last lines and collects what comes, one reading at a time; a server that is offline has none. The daemon answers
   * two readings of a connection at once, then one in five seconds.
   * @throws {AppError} CONSOLE_THROTTLED when it does not, CONSOLE_REFUSED when it withdraws the access, CONSOLE_UNAVAILABLE when
   * it cannot read the console, or the connection ended.
   * @throws the reason of the signal when the caller aborted.
   */
  tail(): Promise<ConsoleTail>;
  /** Ends the connection at once. */
  close(): void;
}

interface Options {
  limits: ConsoleLimits;
  /** For the `meta` of errors. */
  about: Record<string, unknown>;
  signal: AbortSignal | undefined;
}

export interface Session {
  /** A message of the daemon. */
  hear(text: string): void;
  /** The connection has ended. */
  closed(code: number): void;
  /** Sends the token and waits for the state. @throws {AppError} as `openConsole`. */
  open(socket: Socket, token: Secret): Promise<ServerConsole>;
}

/** What waits for the daemon: the opening, or a reading. */
interface Waiting {
  line(line: string): void;
  state(): void;
  fail(error: unknown): void;
}

/** The event and the first argument of a message; undefined for anything else. */
function parseMessage(text: string): { event: string; argument: string } | undefined {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof body !== 'object' || body === null) return undefined;
  const event: unknown = Reflect.get(body, 'event');
  const args: unknown = Reflect.get(body, 'args');
  const argument: unknown = Array.isArray(args) ? args[0] : undefined;
  return typeof event === 'string' ? { event, argument: typeof argument === 'string' ? argument : '' } : undefined;
}

/** The error that an event tells of. @param opening whether the token is not accepted yet. */
function problemOf(event: string, argument: string, opening: boolean, about: Options['about']): AppError | undefined {
  switch (event) {
    case 'jwt error':
    case 'token expired':
      return refused('token', { ...about, reason: reasonOf(argument) });
    case 'daemon error':
      // A token with another signature is no "jwt error" to the daemon (IsJwtError in websocket.go).
      return opening ? refused('token', about) : failed(about);
    case 'throttled':
      return throttled(about);
    default:
      return undefined;
  }
}

/** The daemon's words for a token that it refuses (websocket.go); no other text of it is kept. */
const reasonOf = (text: string): string | undefined =>
  ['no jwt present', 'missing connect permission', 'server uuid mismatch', 'denylist', 'exp claim'].find((word) =>
    text.includes(word),
  );

/** One conversation; it does nothing before `open`. */
export function createSession({ limits, about, signal }: Options): Session {
  let state: ConsoleState | undefined;
  let socket: Socket | undefined;
  let waiting: Waiting | undefined;
  /** Why nothing more will come. */
  let over: { error: unknown } | undefined;

  const end = (error: unknown) => {
    signal?.removeEventListener('abort', aborted);
    over ??= { error };
    socket?.end();
    waiting?.fail(over.error);
  };
  const aborted = () => end(signal?.reason);
  const say = (event: string, args: readonly string[]) => socket?.send(JSON.stringify({ event, args }));

  /** Waits for what `start` says. The end of the connection is an error. */
  function wait<T>(start: (settle: (value: T) => void, fail: (error: unknown) => void) => Waiting): Promise<T> {
    if (waiting !== undefined) throw new Error('one reading of a console at a time');
    const result = new Promise<T>((resolve, reject) => {
      if (over === undefined) waiting = start(resolve, reject);
      else reject(over.error);
    });
    return result.finally(() => {
      waiting = undefined;
    });
  }

  async function tail(): Promise<ConsoleTail> {
    // The daemon does not answer then.
    if (state === 'offline' && over === undefined) return { lines: [], complete: true };
    return wait<ConsoleTail>((settle, fail) => {
      say('send logs', []);
      return collect(limits, settle, fail);
    });
  }

  return {
    hear(text) {
      const message = parseMessage(text);
      if (message === undefined) return;
      const { event, argument } = message;
      const problem = problemOf(event, argument, state === undefined, about);
      if (problem?.code === 'CONSOLE_REFUSED') end(problem);
      else if (problem !== undefined) waiting?.fail(problem);
      else if (event === 'console output') waiting?.line(argument);
      else if (event === 'status') {
        // Only a server that is offline is not asked.
        state = STATES.find((known) => known === argument) ?? 'running';
        waiting?.state();
      }
    },
    closed: (code) => end(ended(code, about)),
    async open(opened, token) {
      socket = opened;
      signal?.addEventListener('abort', aborted, { once: true });
      await wait<void>((settle, fail) => {
        const timer = setTimeout(() => end(late(about)), limits.openMs);
        say('auth', [token.reveal()]);
        const done = (then: () => void) => {
          clearTimeout(timer);
          then();
        };
        return { line: () => {}, state: () => done(settle), fail: (error) => done(() => fail(error)) };
      });
      return {
        get state() {
          return state ?? 'offline';
        },
        tail,
        close: () => end(new Error('the console is closed')),
      };
    },
  };
}

/** Collects lines until they pause, or a limit is reached. */
function collect(
  { quietMs, leastMs, mostMs, firstMs, maxLines, maxCharacters }: ConsoleLimits,
  settle: (tail: ConsoleTail) => void,
  fail: (error: unknown) => void,
): Waiting {
  const lines: string[] = [];
  let characters = 0;
  const asked = performance.now();
  let over = false;
  const stop = () => {
    over = true;
    clearTimeout(pause);
    clearTimeout(most);
  };
  const finish = (complete: boolean) => {
    stop();
    settle({ lines, complete });
  };
  // A timer that was late, because the process was busy, comes before the lines that wait: they are read first.
  const paused = () => {
    const { length } = lines;
    setImmediate(() => {
      if (!over && lines.length === length) finish(true);
    });
  };
  let pause = setTimeout(paused, Math.max(firstMs, leastMs));
  let most: NodeJS.Timeout | undefined;
  return {
    line(line) {
      if (over) return;
      most ??= setTimeout(finish, Math.max(mostMs, leastMs), true);
      lines.push(line);
      characters += line.length;
      if (lines.length >= maxLines || characters >= maxCharacters) return finish(false);
      clearTimeout(pause);
      pause = setTimeout(paused, Math.max(quietMs, leastMs - (performance.now() - asked)));
    },
    state() {},
    fail(error) {
      stop();
      fail(error);
    },
  };
}
