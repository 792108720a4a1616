/** The measured consoles: about 500 servers, one of which wrote a tenth of all lines; lines of 60 to 200 bytes of 30 days. */
import { query } from '../../src/store/db/query.ts';
import { openTestDb, type TestDb } from '../../test/support/database.ts';

const SERVERS = 500;
/** Lines that arrive together: a push of a node daemon. */
const PUSHED = 10;
/** Lines per statement of the filling. */
const CHUNK = 200_000;
export const DAYS = 30;

/** Different texts of lines. */
const POOL_LINES = 200_000;

/** A text of most lines, one of about every 50,000th line, and one of no line. */
export const TEXTS = { frequent: 'info]', rare: 'OutOfMemoryError', absent: 'no such text' } as const;

/** A mirror with as many servers, for `prepare`. */
export const SIZE = {
  locations: 3,
  nodes: 20,
  nests: 2,
  eggs: 10,
  allocations: 1_000,
  users: 1_000,
  servers: SERVERS,
  subusers: 200,
  tickets: 10,
  auditEvents: 10,
} as const;

/** Lines without their time, of which each stored line has one: chat, joins, saves, warnings and, rarely, an error. */
const POOL = `
create temporary table line_pool as
select n, (array['INFO', 'INFO', 'INFO', 'INFO', 'INFO', 'INFO', 'INFO', 'WARN', 'SEVERE'])[1 + n % 9] || '] [' ||
  (array['HytaleServer', 'World|default', 'Chat', 'PlayerManager', 'ChunkStore', 'Plugin|Essentials'])[1 + n % 6] || '] ' ||
  case when n % ${POOL_LINES / 4} = 1 then 'java.lang.OutOfMemoryError: Java heap space at com.hypixel.hytale.server.core.universe.world.World.tick'
    when n % 5 = 0 then 'Player' || n % 5000 || ' joined the game from zone ' || n % 12 || ' with id ' || md5(n::text)
    when n % 5 = 1 then 'Player' || n % 4999 || ': does anybody sell ' || n % 64 || ' copper bars at the market of spawn, or trade them'
    when n % 5 = 2 then 'Saved ' || n % 4001 || ' chunks of region ' || md5(n::text) || ' in ' || n % 900 || ' ms'
    when n % 5 = 3 then 'Tick took ' || n % 400 || ' ms, which is longer than 33 ms; ' || n % 97 || ' entities moved in world default, '
      || n % 4001 || ' block updates are queued for chunk ' || n % 999 || ':' || n % 998
    else 'Auto save of ' || left(md5(n::text), n % 20) end as line
  from generate_series(0, ${POOL_LINES} - 1) n`;

/** uuids of the servers; the first is the big one. */
export const serversOf = async (db: TestDb): Promise<string[]> =>
  (await query<{ uuid: string }>(db, 'select uuid from servers order by "pterodactylId"')).map(({ uuid }) => uuid);

/**
 * Stores `lines` lines in the order in which they arrive, of all servers at once, without the check of the foreign key.
 * @returns milliseconds of each chunk.
 */
export async function fillLines(url: string, lines: number, say: (line: string) => void): Promise<number[]> {
  const db = openTestDb({ connectionString: url, applicationName: 'bench-fill', max: 1, statementTimeoutMs: 600_000 });
  try {
    const uuids = await serversOf(db);
    await db.raw(POOL);
    await db.raw('create unique index on line_pool (n); analyze line_pool; set session_replication_role = replica');
    const times: number[] = [];
    for (let from = 0; from < lines; from += CHUNK) {
      const at = performance.now();
      await db.raw(
        `insert into hytale_server_logs (server_uuid, account_id, log_line, log_timestamp, created_at)
         select (?::text[])[x.server], md5('account' || x.server)::uuid::text,
                '[' || to_char(x.at, 'YYYY/MM/DD HH24:MI:SS') || '   ' || p.line, x.at - x.late * interval '1 ms', x.at
           from (select n, now() - interval '${DAYS} days' + n * (interval '${DAYS} days' / ?) as at, random() as late,
                        floor(random() * ${POOL_LINES})::int as text, b.server
                   from (select b, case when random() < 0.1 then 1 else 2 + floor(? * power(random(), 2))::int end as server
                           from generate_series(?::int, ?::int, ${PUSHED}) b offset 0) b,
                        generate_series(b.b, b.b + ${PUSHED - 1}) n) x
           join line_pool p on p.n = x.text
          order by x.n`,
        [uuids, lines, uuids.length - 1, from, Math.min(from + CHUNK, lines) - 1],
      );
      times.push(performance.now() - at);
      if (times.length % 5 === 0)
        say(`${from + CHUNK} lines; the last ${CHUNK} took ${((times.at(-1) ?? 0) / 1000).toFixed(1)} s`);
    }
    // In production autovacuum has done this.
    await db.raw('vacuum analyze hytale_server_logs');
    return times;
  } finally {
    await db.destroy();
  }
}

/** Sizes in MiB. */
export async function sizesOf(db: TestDb): Promise<Record<string, number>> {
  const rows = await query<{ name: string; mib: number }>(
    db,
    `select c.relname as name, round(pg_relation_size(c.oid) / 1048576.0)::int as mib
       from pg_class c where c.oid = 'hytale_server_logs'::regclass
          or c.oid in (select i.indexrelid from pg_index i where i.indrelid = 'hytale_server_logs'::regclass)
      order by c.relkind desc, c.relname`,
  );
  return Object.fromEntries(rows.map(({ name, mib }) => [name, mib]));
}
