/**
 * Asks the panel for rows that a listing did not contain. An answer is believed only if it is about what was asked: a panel
 * that ignores a filter sends its whole list, and of a list of other records nothing follows.
 */
import type { Throttle } from '../../clients/panel/answers.ts';
import type { PanelClient, PanelPage } from '../../clients/panel/client.ts';
import { type AppError, isAppError } from '../../domain/errors.ts';
import { integerOf } from '../../domain/panel/integer.ts';
import { idOf } from '../../domain/panel/records.ts';
import type { ConfirmedEntity } from '../../domain/sync/targets.ts';
import type { Question } from '../../store/sync/missing-store.ts';

/** What the questions of one activity may cost. */
export interface AskingLimits {
  /** Maximum number of requests. */
  requests: number;
  /** Unix milliseconds after which no further request is sent. */
  until: number;
  signal: AbortSignal;
}

/** The questions of one activity and what became of them. */
export interface Asking {
  client: PanelClient;
  entity: ConfirmedEntity;
  limits: AskingLimits;
  /** Answers by panel id: whether the panel knows the row; null: its answer cannot be believed, so the row is kept. */
  answers: Map<number, boolean | null>;
  /** Throttle headers of the requests that were answered, in their order. */
  throttle: Throttle[];
  /** The panel's answers to filters cannot be believed: each row is asked for by its id. */
  singly: boolean;
}

/** Entities that the panel lists by uuid (application API: servers, nodes and users have this filter). */
const BY_UUID: ReadonlySet<ConfirmedEntity> = new Set(['servers', 'nodes', 'users']);
/** The filter finds parts of a text, so only a whole uuid names one record. */
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** Allocations of a node that are asked for in one page where a filter is ignored. */
const MAX_ONE_PAGE = 20_000;
/** Allocations of some ports of a node that are asked for in one page: a node may have many addresses with the same ports. */
const PORTS_PAGE = 1_000;
/** Records in a row that the panel cannot print; after them it is the panel that fails. */
const MAX_BROKEN = 3;

/**
 * Asks until every question has an answer or the limits are reached.
 * @throws {AppError} PANEL_RATE_LIMITED, PANEL_UNAVAILABLE; what was answered before stands in `asking.answers`.
 */
export async function ask(asking: Asking, questions: readonly Question[]): Promise<void> {
  if (asking.entity === 'allocations') return askAllocations(asking, questions);
  const byUuid = questions.filter(({ uuid }) => BY_UUID.has(asking.entity) && uuid !== null && UUID.test(uuid));
  if (!asking.singly && byUuid.length > 0) await askByUuid(asking, byUuid);
  let broken = 0;
  for (const question of questions) {
    if (asking.answers.has(question.panelId)) continue;
    if (isSpent(asking)) return;
    try {
      asking.answers.set(question.panelId, await askById(asking, question));
      broken = 0;
    } catch (error) {
      broken += 1;
      if (!isBroken(error) || broken > MAX_BROKEN) throw error;
      // A record that the panel cannot print keeps no other question from being asked.
      asking.answers.set(question.panelId, null);
    }
  }
}

/** The panel or a gateway failed at this one answer. 503 is maintenance; an answer that never came is an outage. */
function isBroken(error: unknown): boolean {
  const status = isAppError(error, 'PANEL_UNAVAILABLE') ? error.meta?.['status'] : undefined;
  return typeof status === 'number' && status >= 500 && status !== 503;
}

const isSpent = ({ limits, throttle }: Asking): boolean =>
  throttle.length >= limits.requests || Date.now() >= limits.until || limits.signal.aborted;

async function askByUuid(asking: Asking, questions: readonly Question[]): Promise<void> {
  const wanted = new Set(questions.map(({ uuid }) => lower(uuid)));
  const filter = { uuid: [...wanted].join(',') };
  const page = await list(asking, `/${asking.entity}`, { filter, perPage: 100 });
  if (page === 'not found' || page === 'forbidden') {
    // Without the listing, a 404 of one record would say nothing of it either.
    for (const { panelId } of questions) asking.answers.set(panelId, null);
    return;
  }
  const found = page === 'refused' ? [] : page.items.map(({ attributes }) => lower(attributes['uuid']));
  if (page === 'refused' || !isWhole(page) || !found.every((uuid) => wanted.has(uuid))) {
    asking.singly = true;
    return;
  }
  for (const { panelId, uuid } of questions) asking.answers.set(panelId, found.includes(lower(uuid)));
}

const lower = (uuid: unknown): string => (typeof uuid === 'string' ? uuid.toLowerCase() : '');

/** Whether a page holds all records that the answer counts. */
const isWhole = ({ items, pagination }: PanelPage): boolean =>
  pagination === undefined || pagination.total === items.length;

async function askById(asking: Asking, { panelId, uuid }: Question): Promise<boolean | null> {
  try {
    const { item, throttle } = await asking.client.get(`/${asking.entity}/${panelId}`, {}, asking.limits);
    asking.throttle.push(throttle);
    // Another record under this id says nothing of the row.
    const found = item.attributes['uuid'];
    const same = idOf(item) === panelId && (uuid === null || found === undefined || lower(found) === lower(uuid));
    return same ? true : null;
  } catch (error) {
    const code = noteAnswer(asking, error);
    return code === 'PANEL_NOT_FOUND' ? false : null;
  }
}

/** Asks for allocations node by node: by their ports, else for all allocations of the node in one page. */
async function askAllocations(asking: Asking, questions: readonly Question[]): Promise<void> {
  const nodes = new Map<number, Question[]>();
  for (const question of questions) {
    const node = question.parent ?? 0;
    nodes.set(node, [...(nodes.get(node) ?? []), question]);
  }
  for (const [node, asked] of nodes) {
    if (isSpent(asking)) return;
    await askNode(asking, node, asked);
  }
}

async function askNode(asking: Asking, node: number, questions: readonly Question[]): Promise<void> {
  const ports = [...new Set(questions.map(({ port }) => port))].filter((port) => port !== null);
  const settle = (about: readonly Question[], known: KnownIds | null) => {
    // A record without a readable id may be any of them.
    const unknown = known === null || known.has(undefined);
    for (const { panelId } of about)
      asking.answers.set(panelId, known?.has(panelId) === true || (unknown ? null : false));
  };
  // An empty filter lists everything.
  if (!asking.singly && ports.length > 0) {
    const known = await askPorts(asking, node, ports);
    if (known === 'no node') return settle(questions, new Set());
    if (known === 'too many') return askEachPort(asking, node, questions, settle);
    if (known !== 'not about it') return settle(questions, known);
    asking.singly = true;
    if (isSpent(asking)) return;
  }
  const page = await list(asking, `/nodes/${node}/allocations`, { perPage: MAX_ONE_PAGE });
  if (page === 'not found') return settle(questions, new Set());
  const whole = typeof page === 'object' && page.pagination !== undefined && isWhole(page);
  settle(questions, whole ? idsOf(page) : null);
}

/** Where the allocations of all ports do not fit into one page, those of one port may. */
async function askEachPort(
  asking: Asking,
  node: number,
  questions: readonly Question[],
  settle: (about: readonly Question[], known: KnownIds | null) => void,
): Promise<void> {
  for (const port of new Set(questions.map((question) => question.port))) {
    if (isSpent(asking)) return;
    const known = port === null ? 'not about it' : await askPorts(asking, node, [port]);
    settle(
      questions.filter((question) => question.port === port),
      typeof known === 'object' ? known : null,
    );
  }
}

/**
 * Ids of a node's allocations with these ports, in one page: the list has no order, so several pages prove nothing.
 * @returns `not about it`: the answer holds other allocations, or the panel refuses the filter.
 */
async function askPorts(
  asking: Asking,
  node: number,
  ports: readonly number[],
): Promise<KnownIds | 'too many' | 'not about it' | 'no node'> {
  const query = { filter: { port: ports.join(',') }, perPage: PORTS_PAGE };
  const page = await list(asking, `/nodes/${node}/allocations`, query);
  if (page === 'not found') return 'no node';
  if (typeof page === 'string') return 'not about it';
  const about = page.items.every(({ attributes }) => ports.includes(integerOf(attributes['port']) ?? -1));
  if (!about) return 'not about it';
  return isWhole(page) ? idsOf(page) : 'too many';
}

/** Ids of the records of an answer; undefined: one has no readable id. */
type KnownIds = ReadonlySet<number | undefined>;
const idsOf = ({ items }: PanelPage): KnownIds => new Set(items.map(idOf));

/** One list, or how the panel refuses the question itself. */
async function list(
  asking: Asking,
  path: string,
  query: Parameters<PanelClient['list']>[1],
): Promise<PanelPage | 'not found' | 'forbidden' | 'refused'> {
  try {
    const page = await asking.client.list(path, query, asking.limits);
    asking.throttle.push(page.throttle);
    return page;
  } catch (error) {
    const code = noteAnswer(asking, error);
    if (code === 'PANEL_NOT_FOUND') return 'not found';
    return code === 'PANEL_AUTH' ? 'forbidden' : 'refused';
  }
}

/** Refusals that are an answer to this question, and no failure of the panel. */
const ANSWERS = ['PANEL_NOT_FOUND', 'PANEL_AUTH', 'PANEL_CONTRACT', 'PANEL_CONFLICT'] as const;

/** Counts the request of a refusal. @returns its code. @throws the error when it is none. */
function noteAnswer(asking: Asking, error: unknown): (typeof ANSWERS)[number] {
  const code = ANSWERS.find((one) => isAppError(error, one));
  if (code === undefined) throw error;
  asking.throttle.push(throttleOf(error as AppError));
  return code;
}

const throttleOf = ({ meta }: AppError): Throttle => {
  const throttle = meta?.['throttle'];
  return typeof throttle === 'object' && throttle !== null ? throttle : {};
};
