/**
 * Every command of the command line: why it changes nothing that is recorded, or how it is called. A new command needs its
 * line here.
 */

import { inTransaction } from '../../../src/store/db/db.ts';
import { migrateLatest } from '../../../src/store/db/migrations.ts';
import { query } from '../../../src/store/db/query.ts';
import { rollbackLast } from '../../../src/store/db/rollback.ts';
import { enqueue } from '../../../src/store/outbox-store.ts';
import { ENCRYPTION_KEY, makeUser } from '../api/harness.ts';
import type { TestDatabase } from '../database.ts';
import { temporalAddress } from '../temporal.ts';
import { makeDelivery } from './deliveries.ts';
import { signedIn } from './hytale.ts';
import { activeSync, endSyncs, type World } from './world.ts';

export interface Call {
  /** What follows the name of the command. */
  args: readonly string[];
  env?: Record<string, string>;
  /** Default: that of the world. */
  database?: TestDatabase;
}

export interface CommandRecipe {
  /** The actions of the events, in order. */
  events: readonly string[];
  prepare(world: World, namespace: string): Promise<Call>;
  /** Why the same command once more writes further events. */
  repeats?: string;
  keepsState?: string;
}

const key = (name: string): string => `${name}-${Math.random().toString(36).slice(2)}`;
const member = async (world: World, fields: Parameters<typeof makeUser>[1] = {}): Promise<string> =>
  (await makeUser(world.harness, { email: `${key('member')}@example.com`, ...fields })).id;

/** The second database, without the last migration. */
async function behindByOne({ second }: World): Promise<TestDatabase> {
  await migrateLatest(second.db);
  await rollbackLast(second.db);
  return second;
}

const onUser = (
  event: string,
  args: readonly string[],
  fields: Parameters<typeof makeUser>[1] = {},
): CommandRecipe => ({
  events: [event],
  prepare: async (world) => ({ args: [await member(world, fields), ...args] }),
});

export const COMMANDS: Readonly<Record<string, CommandRecipe | { reads: string } | { elsewhere: string }>> = {
  'audit export': {
    events: ['audit-exported'],
    prepare: async () => ({ args: ['--out', '-', '--format', 'jsonl', '--action', 'audit-exported'] }),
    repeats: 'every export is recorded',
    keepsState: 'it reads',
  },
  'audit list': { reads: 'it lists' },
  'db init': {
    events: ['database-migrated'],
    prepare: async (world) => ({ args: ['--all'], database: await behindByOne(world) }),
  },
  'db list': { reads: 'it lists' },
  'db make': { reads: 'it writes a file of the source tree' },
  'db migrate': {
    events: ['database-migrated'],
    prepare: async (world) => ({ args: [], database: await behindByOne(world) }),
  },
  'db reset': { elsewhere: 'test/store/db/db-cli.test.ts: it takes seconds' },
  'db rollback': {
    events: ['database-rolled-back'],
    prepare: async ({ second }) => ({ args: ['--yes'], database: second }),
    repeats: 'it rolls back the migration before',
  },
  demo: { reads: 'it works on an installation of its own' },
  doctor: { reads: 'it looks' },
  'email preview': { reads: 'it prints' },
  'hytale accounts': { reads: 'it lists' },
  'hytale disconnect': {
    events: ['hytale-account-disconnected'],
    async prepare({ database }, namespace) {
      const env = { TEMPORAL_ADDRESS: temporalAddress(), TEMPORAL_NAMESPACE: namespace };
      return { args: [await signedIn(database.db)], env };
    },
  },
  'hytale end': { elsewhere: 'test/e2e/hytale/engine.test.ts: its workflow answers' },
  'hytale login': { elsewhere: 'test/e2e/hytale/engine.test.ts: its workflow answers' },
  'hytale pull': { reads: 'it begins a reading of consoles, which changes no setting' },
  'hytale refresh': { elsewhere: 'test/e2e/hytale/engine.test.ts: its workflow answers' },
  'hytale renew': { elsewhere: 'test/e2e/hytale/engine.test.ts: its workflow answers' },
  'hytale sessions': { reads: 'it lists' },
  'keys check': { reads: 'it looks' },
  'keys rotate': {
    events: ['keys-rotated'],
    async prepare(world) {
      await world.harness.deps.settings.save({ crowdin_personal_token: 'marker-rotated' }, { enteredBy: 'user' });
      const env = { ENCRYPTION_KEY: Buffer.alloc(32, 9).toString('base64'), ENCRYPTION_KEY_PREVIOUS: ENCRYPTION_KEY };
      return { args: ['--force'], env };
    },
  },
  openapi: { reads: 'it writes a file of the source tree' },
  'runs list': { reads: 'it lists' },
  'runs retry': {
    events: ['run-retried'],
    async prepare({ database }) {
      const dedupeKey = key('effect');
      await inTransaction(database.db, (trx) => enqueue(trx, { kind: 'no.such', dedupeKey, payload: {} }));
      const [effect] = await query<{ id: string }>(
        database.db,
        `update outbox o set status = 'failed', last_error = 'refused' where o.dedupe_key = ? returning o.id`,
        [dedupeKey],
      );
      return { args: ['outbox', effect?.id ?? ''] };
    },
  },
  'setup open': {
    events: ['setup-opened'],
    prepare: async ({ second }) => ({ args: [], database: second }),
    repeats: 'it opens for an hour from now',
  },
  'setup status': { reads: 'it looks' },
  'sync cancel': {
    events: ['sync-cancelled'],
    async prepare(world, namespace) {
      const id = await activeSync(world, 'PENDING');
      return { args: [id], env: { TEMPORAL_ADDRESS: temporalAddress(), TEMPORAL_NAMESPACE: namespace } };
    },
  },
  'sync logs': { reads: 'it lists' },
  'sync run': {
    events: ['sync-requested'],
    async prepare(world, namespace) {
      await endSyncs(world);
      return { args: ['nodes'], env: { TEMPORAL_ADDRESS: temporalAddress(), TEMPORAL_NAMESPACE: namespace } };
    },
  },
  'sync status': { reads: 'it looks' },
  'user create': {
    events: ['account-created'],
    prepare: async () => ({ args: ['--email', `${key('made')}@example.com`] }),
  },
  'user disable': onUser('account-disabled', []),
  'user enable': onUser('account-enabled', [], { isActive: false }),
  'user list': { reads: 'it lists' },
  'user reset-password': { ...onUser('password-changed', []), repeats: 'it makes another password' },
  'user sign-out': onUser('sessions-ended', []),
  'user roles': onUser('roles-changed', ['--add', 'PARTNER']),
  'webhook deliveries': { reads: 'it lists' },
  'webhook list': { reads: 'it lists' },
  'webhook resend': {
    events: ['webhook-resent'],
    prepare: async ({ database }) => ({ args: [await makeDelivery(database.db, { ended: true })] }),
  },
  'webhook test': { elsewhere: 'test/api/webhooks/deliveries.test.ts: it sends a message' },
};
