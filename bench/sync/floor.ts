/**
 * The floor of a sync: a minimal program that downloads the same pages with 8 parallel requests and writes the same
 * rows with COPY and one merge per table. It has no durability, checks, progress or pruning.
 * `node bench/sync/floor.ts <database> <panel> <key>`
 */
import { once } from 'node:events';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { Pool } from 'undici';

interface Item {
  attributes: Record<string, unknown> & {
    relationships?: Record<string, { data?: Item[]; attributes?: Record<string, unknown> }>;
  };
}
interface Listing {
  data: Item[];
  meta: { pagination: { total_pages: number } };
}

const [, , databaseUrl = '', panelUrl = '', key = ''] = process.argv;
/** Number of parallel requests. */
const LANES = 8;
const pool = new Pool(panelUrl, { connections: LANES });
let requests = 0;

async function get(path: string): Promise<Listing> {
  requests += 1;
  const { body } = await pool.request({
    method: 'GET',
    path,
    headers: { accept: 'application/json', authorization: `Bearer ${key}`, 'user-agent': 'nodebyte-bench' },
  });
  return (await body.json()) as Listing;
}

/** A value in the text format of COPY. */
const copyText = (value: unknown): string => {
  if (value === null || value === undefined) return '\\N';
  return String(value).replace(/[\\\t\n\r]/g, (c) => ({ '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' })[c] ?? c);
};
const rows: Record<string, unknown[][]> = {
  locations: [],
  nodes: [],
  allocations: [],
  nests: [],
  eggs: [],
  variables: [],
  users: [],
  servers: [],
  links: [],
  databases: [],
  subusers: [],
};
const add = (table: string, ...row: unknown[]) => rows[table]?.push(row);
const included = (item: Item, name: string) => item.attributes.relationships?.[name]?.data ?? [];

/** Turns the objects of one page into rows. */
function addRows(path: string, items: Item[]): void {
  for (const item of items) {
    const a = item.attributes;
    if (path === 'locations') {
      add('locations', a['id'], a['short'], a['long']);
      for (const node of included(item, 'nodes')) {
        const n = node.attributes;
        add(
          'nodes',
          n['id'],
          n['uuid'],
          n['name'],
          n['description'],
          n['fqdn'],
          n['scheme'],
          n['behind_proxy'],
          n['memory'],
          n['memory_overallocate'],
          n['disk'],
          n['disk_overallocate'],
          n['public'],
          n['maintenance_mode'],
          n['daemon_listen'],
          n['daemon_sftp'],
          n['daemon_base'],
          n['location_id'],
        );
        for (const { attributes: x } of included(node, 'allocations'))
          add('allocations', x['id'], x['ip'], x['port'], x['alias'], x['notes'], x['assigned'], n['id']);
      }
    } else if (path === 'nests') {
      add('nests', a['id'], a['uuid'], a['name'], a['description'], a['author']);
      for (const egg of included(item, 'eggs')) {
        const e = egg.attributes;
        add('eggs', e['id'], e['uuid'], e['name'], e['description'], e['author'], a['id']);
        for (const { attributes: v } of included(egg, 'variables'))
          add(
            'variables',
            v['id'],
            e['id'],
            v['name'],
            v['description'],
            v['env_variable'],
            v['default_value'],
            v['user_viewable'],
            v['user_editable'],
            v['rules'],
          );
      }
    } else if (path === 'users') {
      add('users', a['id'], a['email'], a['username'], a['first_name'], a['last_name'], a['root_admin']);
    } else {
      const limits = a['limits'] as Record<string, unknown>;
      add(
        'servers',
        a['id'],
        a['uuid'],
        a['identifier'],
        a['external_id'],
        a['name'],
        a['description'],
        a['status'] ?? 'online',
        a['suspended'],
        limits['memory'],
        limits['disk'],
        limits['cpu'],
        a['user'],
        a['node'],
        a['egg'],
        a['nest'],
        a['allocation'],
      );
      for (const { attributes: x } of included(item, 'allocations')) add('links', x['id'], a['id']);
      for (const database of included(item, 'databases')) {
        const d = database.attributes;
        const host = d.relationships?.['host']?.attributes;
        add(
          'databases',
          d['id'],
          a['id'],
          d['database'],
          d['username'],
          host?.['host'] ?? '',
          host?.['port'] ?? 3306,
          d['host'],
          d['max_connections'] ?? 0,
        );
      }
      for (const { attributes: s } of included(item, 'subusers'))
        add('subusers', a['id'], s['user_id'], `{${(s['permissions'] as string[]).map((p) => `"${p}"`).join(',')}}`);
    }
  }
}

const LISTINGS: [path: string, query: string][] = [
  ['locations', 'sort=id&include=nodes.allocations'],
  ['nests', 'include=eggs.variables'],
  ['users', 'sort=id'],
  ['servers', 'sort=id&include=allocations,databases.host,subusers'],
];

async function download(): Promise<void> {
  const jobs: [string, string][] = [];
  await Promise.all(
    LISTINGS.map(async ([path, query]) => {
      const url = `/api/application/${path}?per_page=100&${query}`;
      const first = await get(`${url}&page=1`);
      addRows(path, first.data);
      for (let page = 2; page <= first.meta.pagination.total_pages; page += 1) jobs.push([path, `${url}&page=${page}`]);
    }),
  );
  await Promise.all(
    Array.from({ length: LANES }, async () => {
      for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) addRows(job[0], (await get(job[1])).data);
    }),
  );
}

/** Columns of the staged tables, in the order of the rows above. */
const COLUMNS: Record<string, string> = {
  locations: 'id int, short text, long text',
  nodes:
    'id int, uuid text, name text, description text, fqdn text, scheme text, bp bool, memory bigint, mo int, disk bigint, dio int, pub bool, mm bool, dl int, ds int, db text, loc int',
  allocations: 'id int, ip text, port int, alias text, notes text, assigned bool, node int',
  nests: 'id int, uuid text, name text, description text, author text',
  eggs: 'id int, uuid text, name text, description text, author text, nest int',
  variables: 'id int, egg int, name text, description text, env text, dflt text, v bool, e bool, rules text',
  users: 'panel_id int, email text, username text, first text, last text, admin bool',
  servers:
    'panel_id int, uuid text, short text, ext text, name text, description text, status text, suspended bool, memory int, disk int, cpu int, usr int, node int, egg int, nest int, allocation int',
  links: 'id int, panel_id int',
  databases: 'panel_id int, server int, name text, username text, host text, port int, host_id int, max int',
  subusers: 'server int, usr int, permissions text[]',
};

const upsert = (table: string, columns: string[], key: string, select: string) => {
  const set = columns.filter((c) => c !== key && c !== 'id');
  return `insert into ${table} (${columns.join(', ')}) ${select} on conflict (${key}) do update set ${set.map((c) => `${c} = excluded.${c}`).join(', ')}
    where (${set.map((c) => `${table}.${c}`).join(', ')}) is distinct from (${set.map((c) => `excluded.${c}`).join(', ')})`;
};
const MERGES = [
  upsert('locations', ['id', '"shortCode"', 'description'], 'id', 'select id, short, long from staged_locations'),
  upsert(
    'nodes',
    [
      'id',
      'uuid',
      'name',
      'description',
      'fqdn',
      'scheme',
      '"behindProxy"',
      'memory',
      '"memoryOverallocate"',
      'disk',
      '"diskOverallocate"',
      '"isPublic"',
      '"isMaintenanceMode"',
      '"daemonListenPort"',
      '"daemonSftpPort"',
      '"daemonBase"',
      '"locationId"',
    ],
    'id',
    'select * from staged_nodes',
  ),
  upsert('nests', ['id', 'uuid', 'name', 'description', 'author'], 'id', 'select * from staged_nests'),
  upsert('eggs', ['id', 'uuid', 'name', 'description', 'author', '"nestId"'], 'id', 'select * from staged_eggs'),
  upsert(
    'egg_variables',
    ['id', 'egg_id', 'name', 'description', 'env_variable', 'default_value', 'user_viewable', 'user_editable', 'rules'],
    'id',
    'select * from staged_variables',
  ),
  upsert(
    'users',
    ['id', '"pterodactylId"', 'email', 'username', '"firstName"', '"lastName"', '"isPterodactylAdmin"'],
    'email',
    'select gen_random_uuid()::text, panel_id, email, username, first, last, admin from staged_users',
  ),
  upsert(
    'servers',
    [
      'id',
      '"pterodactylId"',
      'uuid',
      '"uuidShort"',
      '"externalId"',
      'name',
      'description',
      'status',
      '"isSuspended"',
      'memory',
      'disk',
      'cpu',
      '"ownerId"',
      '"nodeId"',
      '"eggId"',
      '"nestId"',
      '"primaryAllocationId"',
    ],
    '"pterodactylId"',
    'select gen_random_uuid()::text, s.panel_id, s.uuid, s.short, s.ext, s.name, s.description, s.status, s.suspended, s.memory, s.disk, s.cpu, u.id, s.node, s.egg, s.nest, s.allocation from staged_servers s left join users u on u."pterodactylId" = s.usr',
  ),
  upsert(
    'allocations',
    ['id', 'ip', 'port', 'alias', 'notes', '"isAssigned"', '"nodeId"', '"serverId"'],
    'id',
    'select a.id, a.ip, a.port, a.alias, a.notes, a.assigned, a.node, v.id from staged_allocations a left join staged_links l on l.id = a.id left join servers v on v."pterodactylId" = l.panel_id',
  ),
  upsert(
    'server_databases',
    [
      'id',
      '"pterodactylId"',
      '"serverId"',
      '"databaseName"',
      'username',
      'host',
      'port',
      '"hostId"',
      '"maxConnections"',
    ],
    '"pterodactylId"',
    'select gen_random_uuid()::text, d.panel_id, v.id, d.name, d.username, d.host, d.port, d.host_id, d.max from staged_databases d join servers v on v."pterodactylId" = d.server',
  ),
  upsert(
    'server_subusers',
    ['id', '"serverId"', '"userId"', 'permissions', '"isOwner"'],
    '"serverId", "userId"',
    `select gen_random_uuid()::text, v.id, u.id, s.permissions, false from staged_subusers s join servers v on v."pterodactylId" = s.server join users u on u."pterodactylId" = s.usr where u.id is distinct from v."ownerId"
     union all select gen_random_uuid()::text, v.id, v."ownerId", '{*}', true from staged_servers s join servers v on v."pterodactylId" = s.panel_id where v."ownerId" is not null`,
  ),
];

async function write(): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query('begin');
  for (const [table, columns] of Object.entries(COLUMNS)) {
    await client.query(`create temp table staged_${table} (${columns}) on commit drop`);
    const stream = client.query(copyFrom(`copy staged_${table} from stdin`));
    const lines = rows[table] ?? [];
    for (let i = 0; i < lines.length; i += 2_000) {
      const chunk = lines
        .slice(i, i + 2_000)
        .map((row) => `${row.map(copyText).join('\t')}\n`)
        .join('');
      if (!stream.write(chunk)) await once(stream, 'drain');
    }
    stream.end();
    await once(stream, 'finish');
    await client.query(`analyze staged_${table}`);
  }
  for (const merge of MERGES) await client.query(merge);
  await client.query('commit');
  await client.end();
}

const started = performance.now();
await download();
await write();
process.stdout.write(
  `${JSON.stringify({ seconds: (performance.now() - started) / 1_000, requests, rows: Object.values(rows).reduce((n, r) => n + r.length, 0) })}\n`,
);
await pool.close();
