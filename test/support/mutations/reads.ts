/** How the routes that only read are called, where their path alone does not say it. */
import { randomUUID } from 'node:crypto';
import { query } from '../../../src/store/db/query.ts';
import { queueDeliveries } from '../../../src/store/webhooks/delivery-store.ts';
import { insertLog } from '../api/harness.ts';
import { queueEmail } from '../email.ts';
import { hytalePaths } from './hytale.ts';
import type { World } from './world.ts';

/** The path of a read with its parameters, by operation id. */
export type Paths = Readonly<Record<string, string>>;

/** Fills the database with secrets that begin with `marker-`, in every column that holds one, and gives the paths of reads. */
export async function fillWithMarkers(world: World): Promise<Paths> {
  const { database, admin } = world;
  const { db } = database;
  await db.raw(`
    insert into locations (id, "shortCode") values (1, 'eu') on conflict do nothing;
    insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId") values (1, 'n-1', 'Node', 'n1.example', 1, 1, 1) on conflict do nothing;
    insert into servers (id, uuid, name, "nodeId", "ownerId") values ('server-1', 'uuid-1', 'Server', 1, '${admin.id}');
    insert into discord_webhooks (id, name, "webhookUrl") values ('hook', 'Hook', 'https://discord.com/api/webhooks/1/marker-webhook-token-of-a-usual-length');
    insert into hytale_oauth_tokens (account_id, access_token, refresh_token, access_token_expiry)
      values (gen_random_uuid(), 'marker-access', 'marker-refresh', now() + interval '1 day');
    insert into hytale_game_sessions (account_id, profile_uuid, session_token, identity_token, expires_at)
      values (gen_random_uuid(), gen_random_uuid(), 'marker-game', 'marker-identity', now() + interval '1 day');
    insert into sessions (id, "sessionToken", "userId", expires) values ('s-1', 'marker-session-token', '${admin.id}', now() + interval '1 day');
    insert into password_reset_tokens (id, "userId", token, "expiresAt") values ('p-1', '${admin.id}', 'marker-reset', now() + interval '1 day');
    insert into verification_tokens (identifier, token, expires) values ('root@example.com', 'marker-verification', now() + interval '1 day');
    update users set password = 'marker-hash' where id = '${admin.id}'`);
  const emailId = await queueEmail(db, {
    template: 'magic-link',
    to: admin.email,
    data: { name: 'Root', token: 'marker-link', id: admin.id },
  });
  await query(db, `update emails set status = 'failed', last_error = 'refused' where id = ?`, [emailId]);
  const [deliveryId = ''] = await queueDeliveries(db, [
    {
      webhookId: 'hook',
      webhookName: 'Hook',
      event: 'test.event',
      origin: 'request',
      data: {},
      occurredAt: new Date(),
    },
  ]);
  const logId = await insertLog(database, { status: 'FAILED', error: 'The panel refused' });
  return {
    ...(await hytalePaths(world)),
    checkEmail: `/api/v1/auth/check-email?email=${admin.email}`,
    getAuthUser: `/api/v1/auth/users/${admin.id}`,
    getEmail: `/api/admin/emails/${emailId}`,
    getRun: `/api/admin/runs/email/${emailId}`,
    getSyncLog: `/api/admin/sync/logs/${logId}`,
    getSyncStatus: `/api/v1/sync/status/${logId}`,
    getWebhook: '/api/admin/settings/webhooks/hook',
    getWebhookDelivery: `/api/admin/webhook-deliveries/${deliveryId}`,
    getUser: `/api/admin/users/${admin.id}`,
    listNodeAllocations: '/api/admin/nodes/1/allocations',
    showDenial: `/api/v1/auth/not-me?token=${randomUUID()}&id=${randomUUID()}`,
    streamSync: `/api/admin/sync/stream/${logId}`,
  };
}
