/**
 * Asks the panel for rows that a listing did not contain. An answer is believed only if it is about what was asked: a panel
 * that ignores a filter sends its whole list, and of a list of other records nothing follows.
 */
import type { Throttle } from '../../clients/panel/answers.ts';
import type { PanelClient, PanelPage } from '../../clients/panel/client.ts';
import { type AppError, isAppError } from '../../domain/errors.ts';
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
/** Records of a node that are asked for in one page where a filter is ignored. */
const MAX_ONE_PAGE = 20_000;

/**
 * Asks until every question has an answer or the limits are reached.
 * @throws {AppError} PANEL_RATE_LIMITED, PANEL_UNAVAILABLE; what was answered before stands in `asking.answers`.
 */
export async function ask(asking: Asking, questions: readonly Question[]): Promise<void> {
  if (asking.entity === 'allocations') return askAllocations(asking, questions);
  const byUuid = questions.filter(({ uuid }) => BY_UUID.has(asking.entity) && uuid !== null && UUID.test(uuid));
  if (!asking.singly && byUuid.length > 0) await askByUuid(asking, byUuid);
  for (const question of questions) {
    if (asking.answers.has(question.panelId)) continue;
    if (isSpent(asking)) return;
    asking.answers.set(question.panelId, await askById(asking, question));
  }
}

const isSpent = ({ limits, throttle }: Asking): boolean =>
  throttle.length >= limits.requests || Date.now() >= limits.until || limits.signal.aborted;

async function askByUuid(asking: Asking, questions: readonly Question[]): Promise<void> {
  const wanted = new Set(questions.map(({ uuid }) => lower(uuid)));
  const filter = { uuid: [...wanted].join(',') };
  const page = await list(asking, `/${asking.entity}`, { filter, perPage: 100 });
  const found = page?.items.map(({ attributes }) => lower(attributes['uuid'])) ?? [];
  if (page === undefined || !isWhole(page) || !found.every((uuid) => wanted.has(uuid))) {
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
  const path = `/nodes/${node}/allocations`;
  const settle = (page: PanelPage | undefined) => {
    const ids = new Set(page?.items.map(idOf));
    // A record without a readable id may be any of them.
    const unknown = page === undefined || ids.has(undefined);
    for (const { panelId } of questions) {
      asking.answers.set(panelId, ids.has(panelId) || (unknown ? null : false));
    }
  };
  let perPage = MAX_ONE_PAGE;
  const ports = new Set(questions.map(({ port }) => port));
  // An empty filter lists everything.
  if (!asking.singly && !ports.has(null)) {
    const page = await list(asking, path, { filter: { port: [...ports].join(',') }, perPage: 100 });
    const about = page?.items.every(({ attributes }) => ports.has(Number(attributes['port']))) ?? false;
    if (page !== undefined && about && isWhole(page)) return settle(page);
    asking.singly = true;
    perPage = Math.min(MAX_ONE_PAGE, (page?.pagination?.total ?? MAX_ONE_PAGE) + 100);
    if (isSpent(asking)) return;
  }
  const page = await list(asking, path, { perPage });
  settle(page !== undefined && page.pagination !== undefined && isWhole(page) ? page : undefined);
}

/** One list; undefined when the panel refuses the question itself. */
async function list(
  asking: Asking,
  path: string,
  query: Parameters<PanelClient['list']>[1],
): Promise<PanelPage | undefined> {
  try {
    const page = await asking.client.list(path, query, asking.limits);
    asking.throttle.push(page.throttle);
    return page;
  } catch (error) {
    noteAnswer(asking, error);
    return undefined;
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
