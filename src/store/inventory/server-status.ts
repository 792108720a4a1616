/**
 * Status and usage of a server as the site shows them, as SQL over `servers s` joined with {@link USAGE_JOIN}. Rows,
 * filters and counts of every list use it, so that they agree.
 */

/** Minutes for which figures and a live state are shown. The site itself keeps a page for five minutes. */
const SHOWN_MINUTES = 5;
/** Seconds after which they are read again. The panel itself keeps them for so long. */
const KEPT_SECONDS = 20;

/** Brings what is known of its usage (alias lu) to `servers s`. */
export const USAGE_JOIN = 'left join server_usage lu on lu.server_id = s.id';

const IS_SHOWN = `lu.read_at > now() - interval '${SHOWN_MINUTES} minutes'`;

/** Statuses that say only whether a server runs: the node's word is newer. All others say what the panel does to it. */
const RUN_STATES = `('', 'online', 'running', 'offline', 'starting', 'stopping')`;

/**
 * Lower case; empty when nothing is known. Suspended wins; then comes what the panel does to the server (`installing`,
 * `restoring_backup`, …), then the live state, then the mirrored one. A server that runs is `online`, the site's word.
 * The first branch only shortens the way of most servers: a sort and a count evaluate all of them.
 */
export const EFFECTIVE_STATUS = `(case
  when lu.read_at is null and s."isSuspended" is not true and s.status in ('online', 'offline', 'starting', 'stopping') then s.status
  when s."isSuspended" then 'suspended'
  when lower(coalesce(s.status, '')) not in ${RUN_STATES} then lower(s.status)
  else replace(coalesce(case when ${IS_SHOWN} then lu.state end, lower(s.status), ''), 'running', 'online') end)`;

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

/**
 * Statuses that are not offline. All others, such as `install_failed` or an unknown word, are: so each server is found by
 * one filter, also where a page has a label of its own for its status.
 */
const NOT_OFFLINE = `('online', 'starting', 'stopping', 'installing', 'suspended')`;

/** SQL condition over `s` and `lu`: the filter finds the server. */
export const displayedAs = (status: DisplayedStatus): string =>
  status === 'offline' ? `${EFFECTIVE_STATUS} not in ${NOT_OFFLINE}` : `${EFFECTIVE_STATUS} = '${status}'`;

/** SQL condition over `lu`: the figures are old, no process reads them now, and no failure forbids it. */
export const IS_UNREAD = `(coalesce(lu.read_at <= now() - interval '${KEPT_SECONDS} seconds', true)
  and coalesce(lu.asked_until <= now(), true) and coalesce(lu.paused_until <= now(), true))`;

/**
 * SQL condition over `s`: the panel answers what is asked of the running server. It refuses one that is suspended, installed,
 * restored or moved, and those of a node under maintenance.
 */
export const CAN_BE_ASKED = `(s.uuid <> '' and s."panelType" = 'pterodactyl' and s."pterodactylId" is not null
  and s."isSuspended" is not true and lower(coalesce(s.status, '')) in ${RUN_STATES.replace('(', "('reinstall_failed', ")}
  and not exists (select 1 from nodes m where m.id = s."nodeId" and m."isMaintenanceMode"))`;

/** SQL condition over `s` and `lu`: the figures are to be read. */
const IS_DUE = `(${CAN_BE_ASKED} and ${IS_UNREAD}
  and not exists (select 1 from node_usage_pauses p where p.node_id = s."nodeId" and p.paused_until > now()))`;

/** Figures of a server that a list shows, and what {@link ../../services/inventory/live-usage.ts} needs to read them. */
export interface ServerUsage {
  id: string;
  uuid: string | null;
  nodeId: number | null;
  /** MB; null when it is not known. */
  usedMemory: number | null;
  /** MB */
  usedDisk: number | null;
  /** Per cent of a core. */
  usedCpu: number | null;
  /** Figures and live state are old, and the panel may be asked. */
  usageDue: boolean;
}

/** SQL of the columns of {@link ServerUsage}, over `s` and `lu`, but for those that every list of servers has. */
export const USAGE_COLUMNS = `case when ${IS_SHOWN} then lu.memory_mb end as "usedMemory",
  case when ${IS_SHOWN} then lu.disk_mb end as "usedDisk", case when ${IS_SHOWN} then lu.cpu_percent end as "usedCpu",
  coalesce(${IS_DUE}, false) as "usageDue"`;
