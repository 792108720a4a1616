/** What the web UI's pages show of a workflow: read from the server of the UI as its pages do, and as pictures. */
import { join } from 'node:path';
import { runCommand } from '../../src/embedded/process.ts';
import { PANEL_SYNC_ID } from '../../src/workflows/contract.ts';

/** A payload in the JSON of the API. */
interface Payload {
  data?: string;
}

/** A workflow in a list or on its own page. */
interface Shown {
  execution: { workflowId: string; runId: string };
  type: { name: string };
  status: string;
  memo: { fields?: Record<string, Payload> };
}

interface HistoryEvent {
  eventType: string;
  activityTaskScheduledEventAttributes?: { activityType: { name: string } };
  workflowExecutionFailedEventAttributes?: { failure: { message: string } };
  userMetadata?: { summary?: Payload };
}

/** The value of a payload, as a page shows it. */
const decoded = (payload: Payload | undefined): unknown =>
  payload?.data === undefined ? undefined : JSON.parse(Buffer.from(payload.data, 'base64').toString('utf8'));

export interface WebUi {
  /** The page of workflows with a filter: the syncs' logs and what their types and statuses are. */
  list(query: string): Promise<{ type: string; status: string; logId: unknown; runId: string }[]>;
  /** The number that the page shows beside the filter. */
  count(query: string): Promise<number>;
  /** Head of the page of a sync, and its tabs "User Metadata" and "Pending Activities". Default: the newest run. */
  sync(runId?: string): Promise<{
    summary: unknown;
    details: unknown;
    currentDetails: unknown;
    pending: { type: string; attempt: number; lastFailure: string | undefined }[];
  }>;
  /** The tab "Timeline": what each bar is called, and with which message the run failed. */
  timeline(runId: string): Promise<{ bars: string[]; failure: string | undefined }>;
  /** Everything that the page of the history loads, as text. */
  historyText(runId: string): Promise<string>;
  /** Saves a picture of a page, if Chromium is installed and CLUSTER_SCREENSHOTS names a folder. */
  picture(name: string, page: string): Promise<void>;
}

export function webUi(url: string, namespace: string): WebUi {
  const api = `${url}/api/v1/namespaces/${namespace}`;
  const text = async (path: string, init?: RequestInit): Promise<string> => {
    const response = await fetch(`${api}/${path}`, init);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.text();
  };
  const get = async <T>(path: string) => JSON.parse(await text(path)) as T;
  const of = (runId: string | undefined) => (runId === undefined ? '' : `?execution.runId=${runId}`);

  /** A query as the page sends it: with the token that the server set as a cookie. */
  async function query<T>(queryType: string, runId: string | undefined): Promise<T> {
    const page = await fetch(url);
    const cookie = page.headers.getSetCookie().find((text) => text.startsWith('_csrf=')) ?? '';
    const token = cookie.slice('_csrf='.length).split(';')[0] ?? '';
    const answer = await text(`workflows/${PANEL_SYNC_ID}/query/${queryType}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', cookie: `_csrf=${token}`, 'x-csrf-token': token },
      body: JSON.stringify({
        execution: { workflowId: PANEL_SYNC_ID, ...(runId === undefined ? {} : { runId }) },
        query: { queryType },
      }),
    });
    const { queryResult } = JSON.parse(answer) as { queryResult: { payloads: Payload[] } };
    return decoded(queryResult.payloads[0]) as T;
  }

  return {
    async list(filter) {
      const { executions } = await get<{ executions: Shown[] }>(`workflows?query=${encodeURIComponent(filter)}`);
      return executions.map(({ type, status, memo, execution }) => ({
        type: type.name,
        status: status.replace('WORKFLOW_EXECUTION_STATUS_', ''),
        logId: decoded(memo.fields?.['logId']),
        runId: execution.runId,
      }));
    },
    async count(filter) {
      return Number((await get<{ count: string }>(`workflow-count?query=${encodeURIComponent(filter)}`)).count);
    },
    async sync(runId) {
      const shown = await get<{
        executionConfig: { userMetadata: { summary?: Payload; details?: Payload } };
        pendingActivities?: { activityType: { name: string }; attempt: number; lastFailure?: { message: string } }[];
      }>(`workflows/${PANEL_SYNC_ID}${of(runId)}`);
      const { currentDetails } = await query<{ currentDetails: string }>('__temporal_workflow_metadata', runId);
      const { summary, details } = shown.executionConfig.userMetadata;
      return {
        summary: decoded(summary),
        details: decoded(details),
        currentDetails,
        pending: (shown.pendingActivities ?? []).map(({ activityType, attempt, lastFailure }) => ({
          type: activityType.name,
          attempt,
          lastFailure: lastFailure?.message,
        })),
      };
    },
    async timeline(runId) {
      const { history } = await get<{ history: { events: HistoryEvent[] } }>(
        `workflows/${PANEL_SYNC_ID}/history${of(runId)}`,
      );
      return {
        bars: history.events.flatMap(({ activityTaskScheduledEventAttributes: planned, userMetadata }) =>
          planned === undefined ? [] : [String(decoded(userMetadata?.summary) ?? planned.activityType.name)],
        ),
        failure: history.events.at(-1)?.workflowExecutionFailedEventAttributes?.failure.message,
      };
    },
    async historyText(runId) {
      const json = await text(`workflows/${PANEL_SYNC_ID}/history${of(runId)}`);
      // The pages decode the payloads.
      return json.replace(/"data":\s*"([^"]*)"/g, (_, data: string) => Buffer.from(data, 'base64').toString('utf8'));
    },
    async picture(name, page) {
      const folder = process.env['CLUSTER_SCREENSHOTS'];
      if (folder === undefined || folder === '') return;
      await runCommand(
        'chromium',
        [
          ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
          ...['--disable-background-networking', '--disable-component-update', '--hide-scrollbars'],
          ...['--window-size=1500,1400', '--virtual-time-budget=15000'],
          `--user-data-dir=${join(folder, `profile-${name}`)}`,
          `--screenshot=${join(folder, `${name}.png`)}`,
          `${url}/namespaces/${namespace}/${page}`,
        ],
        { timeoutMs: 30_000 },
      );
    },
  };
}
