/**
 * Which locks the statements of a migration take on tables that exist: from their texts, after the table of PostgreSQL's
 * manual (13.3.1). A rehearsal needs it, because it locks nothing but its copy. A test compares it with pg_locks.
 */

/** `all`: readers and writers of the table wait (ACCESS EXCLUSIVE). `writers`: readers go on. */
export type LockStrength = 'all' | 'writers';

const NAME = '(?:if exists |only )?"?([A-Za-z0-9_]+)"?';

/** What an `alter table` does to the table, by its first action. Everything else keeps all others out. */
function strengthOfAlter(actions: string): LockStrength | undefined {
  if (/^(validate constraint|set \(|reset \()/.test(actions)) return undefined;
  return /^add constraint \S+ foreign key/.test(actions) ? 'writers' : 'all';
}

function locksOf(statement: string, belongsTo: ReadonlyMap<string, string>): [string, LockStrength | undefined][] {
  const alter = new RegExp(`^alter table ${NAME}\\s+(.*)$`, 's').exec(statement);
  if (alter !== null) {
    const actions = (alter[2] ?? '').trimStart();
    // Without its foreign key or the column of it, the referenced table loses triggers.
    const gone = [...actions.matchAll(new RegExp(`\\bdrop (?:constraint|column) ${NAME}`, 'g'))];
    const freed = gone.flatMap(([, part]) => belongsTo.get(`${alter[1]}.${part}`) ?? []);
    const referenced = [...actions.matchAll(new RegExp(`\\breferences ${NAME}`, 'g'))];
    return [
      [alter[1] ?? '', strengthOfAlter(actions)],
      ...freed.map((table): [string, LockStrength] => [table, 'all']),
      ...referenced.map(([, table = '']): [string, LockStrength] => [table, 'writers']),
    ];
  }
  const dropped = new RegExp(`^drop index ${NAME}`).exec(statement)?.[1];
  if (dropped !== undefined) return [[belongsTo.get(dropped) ?? '', 'all']];
  const trigger = new RegExp(`^create (?:constraint )?trigger .*? on ${NAME}`, 's').exec(statement)?.[1];
  if (trigger !== undefined) return [[trigger, 'writers']];
  const untriggered = new RegExp(`^drop trigger (?:if exists )?\\S+ on ${NAME}`).exec(statement)?.[1];
  if (untriggered !== undefined) return [[untriggered, 'all']];
  const index = new RegExp(`^create (?:unique )?index .*? on ${NAME}`, 's').exec(statement)?.[1];
  if (index !== undefined) return [[index, 'writers']];
  if (!statement.startsWith('create table')) return [];
  return [...statement.matchAll(new RegExp(`\\breferences ${NAME}`, 'g'))].map(([, table = '']) => [table, 'writers']);
}

/**
 * The tables that the statements lock for others, with the strongest lock of each.
 * @param tables those that existed before.
 * @param belongsTo the tables of indexes, and those that foreign keys reference.
 */
export function locksOfStatements(
  texts: readonly string[],
  tables: ReadonlySet<string>,
  belongsTo: ReadonlyMap<string, string>,
): Map<string, LockStrength> {
  const found = new Map<string, LockStrength>();
  // A block (`do $$ … $$`) has its statements inside.
  const statements = texts.flatMap((text) => text.split(/;|\bthen\b|\bbegin\b|\$\$/)).map((text) => text.trim());
  for (const statement of statements) {
    for (const [table, strength] of locksOf(statement, belongsTo)) {
      if (strength === undefined || !tables.has(table) || found.get(table) === 'all') continue;
      found.set(table, strength);
    }
  }
  return found;
}
