/** Links into the web UI of Temporal. */

export interface TemporalUi {
  /** TEMPORAL_UI_URL; undefined: no links. */
  url: string | undefined;
  namespace: string;
}

/** The page of a workflow; without a run id the UI shows the latest run. Null without an address or a workflow. */
export function linkOfWorkflow({ url, namespace }: TemporalUi, workflowId: string | null, runId: string | null) {
  if (url === undefined || workflowId === null) return null;
  const workflow = `${url}/namespaces/${encodeURIComponent(namespace)}/workflows/${encodeURIComponent(workflowId)}`;
  return runId === null ? workflow : `${workflow}/${encodeURIComponent(runId)}/history`;
}
