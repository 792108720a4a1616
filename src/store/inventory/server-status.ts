/**
 * The status of a server as the site shows it, as SQL over `servers s` joined with {@link USAGE_JOIN}. Rows, filters and
 * counts of every list use it, so that they agree.
 */

/** Minutes for which a live state counts. The site itself keeps a page for five minutes. */
const LIVE_MINUTES = 5;

/** Brings the last figures and the live state of a server (alias lu) to `servers s`, if they are recent enough. */
export const USAGE_JOIN = `left join server_usage lu on lu.server_id = s.id
  and lu.read_at > now() - interval '${LIVE_MINUTES} minutes'`;

/** Statuses that say only whether a server runs: the node's word is newer. All others say what the panel does to it. */
const RUN_STATES = `('', 'online', 'running', 'offline', 'starting', 'stopping')`;

/**
 * Lower case; empty when nothing is known. Suspended wins; then comes what the panel does to the server (`installing`,
 * `restoring_backup`, …), then the live state, then the mirrored one. A server that runs is `online`, the site's word.
 */
export const EFFECTIVE_STATUS = `(case when s."isSuspended" then 'suspended'
  when lower(coalesce(s.status, '')) not in ${RUN_STATES} then lower(s.status)
  else replace(coalesce(lu.state, lower(s.status), ''), 'running', 'online') end)`;

/** Statuses that a list can be filtered by. */
export type DisplayedStatus = 'online' | 'offline' | 'starting' | 'stopping' | 'installing' | 'suspended';

/** Words of the status filters; the site's own word for `online` is `running`. */
export const STATUS_WORDS: Readonly<Record<string, DisplayedStatus>> = {
  running: 'online',
  online: 'online',
  offline: 'offline',
  starting: 'starting',
  stopping: 'stopping',
  installing: 'installing',
  suspended: 'suspended',
};

/** Statuses that a page of the site has a label for. It shows all others as offline. */
const LABELLED = {
  dashboard: `('online', 'starting', 'stopping', 'installing', 'suspended')`,
  admin: `('online', 'starting', 'stopping', 'installing', 'suspended', 'install_failed', 'restoring_backup')`,
} as const;

/** SQL condition over `s` and `lu`: the page of the site shows the server so. */
export const displayedAs = (page: keyof typeof LABELLED, status: DisplayedStatus): string =>
  status === 'offline' ? `${EFFECTIVE_STATUS} not in ${LABELLED[page]}` : `${EFFECTIVE_STATUS} = '${status}'`;
