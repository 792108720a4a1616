/**
 * How every route that an administrator or a program may call to change something is called, by its operation id. A new
 * route needs its recipe here: `prepare` makes the state in which the request changes something.
 */
import { query } from '../../../src/store/db/query.ts';
import { API_KEY, makeUser } from '../api/harness.ts';
import { queueEmail } from '../email.ts';
import { makeDelivery } from './deliveries.ts';
import { HYTALE_ROUTES } from './hytale.ts';
import { type ApiRequest, activeSync, endSyncs, type World } from './world.ts';

export interface RouteRecipe {
  prepare(world: World): Promise<ApiRequest>;
  /** Why the same request once more is a further event. Without it, it must write none. */
  repeats?: string;
  /** Why no row changes beside the event. */
  keepsState?: string;
  /** Tables that a route without an event writes nevertheless: the data that it receives. */
  receives?: readonly string[];
}

const API = { 'X-API-Key': API_KEY };
const key = (name: string): string => `${name}-${Math.random().toString(36).slice(2)}`;

const member = async (world: World, fields: Parameters<typeof makeUser>[1] = {}): Promise<string> =>
  (await makeUser(world.harness, { email: `${key('member')}@example.com`, ...fields })).id;

const startSync = (target: string): RouteRecipe => ({
  async prepare(world) {
    await endSyncs(world);
    return { method: 'post', path: `/api/v1/sync/${target}`, headers: API };
  },
});

const maintenance = (method: string): RouteRecipe => ({
  async prepare({ database }) {
    await database.db.raw(`
      insert into locations (id, "shortCode") values (1, 'eu') on conflict do nothing;
      insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId", "isMaintenanceMode")
      values (1, 'n-1', 'Node', 'n1.example', 1, 1, 1, false) on conflict (id) do update set "isMaintenanceMode" = false`);
    return { method, path: '/api/admin/nodes/1/maintenance', body: { enabled: true } };
  },
});

const repositories =
  (method: string, body: unknown): RouteRecipe['prepare'] =>
  async (world) => {
    await world.harness.deps.settings.save({ github_repositories: '["ours/one","ours/two"]' }, { enteredBy: 'user' });
    return { method, path: '/api/admin/settings/repos', body };
  };

const HOOKS = '/api/admin/settings/webhooks';
const hookUrl = (): string => `https://discord.com/api/webhooks/1/${key('marker-webhook-token')}`;

/** A webhook, and a request about it. @param byId the id stands in the path, not in the body. */
const webhook =
  (method: string, byId: boolean, body: Record<string, unknown> = {}): RouteRecipe['prepare'] =>
  async ({ database }) => {
    const id = key('webhook');
    await query(database.db, `insert into discord_webhooks (id, name, "webhookUrl") values (?, 'Alerts', ?)`, [
      id,
      hookUrl(),
    ]);
    return { method, path: byId ? `${HOOKS}/${id}` : HOOKS, body: byId ? body : { id, ...body } };
  };
const TESTS_REPEAT = 'each test sends a message';

/** A delivery, and a request about it. */
const delivery =
  (verb: 'resend' | 'cancel'): RouteRecipe['prepare'] =>
  async ({ database }) => ({
    method: 'post',
    path: `/api/admin/webhook-deliveries/${await makeDelivery(database.db, { ended: verb === 'resend' })}/${verb}`,
  });

export const ROUTES: Readonly<Record<string, RouteRecipe>> = {
  ...HYTALE_ROUTES,
  addRepository: { prepare: repositories('post', { repo: 'ours/three' }) },
  cancelSync: {
    async prepare(world) {
      // A running one is only marked: a second cancel finds the mark.
      await activeSync(world, 'RUNNING');
      return { method: 'post', path: '/api/admin/sync/cancel', body: {} };
    },
  },
  cancelSyncById: {
    prepare: async (world) => ({
      method: 'post',
      path: `/api/v1/sync/cancel/${await activeSync(world, 'PENDING')}`,
      headers: API,
    }),
  },
  cancelWebhookDelivery: { prepare: delivery('cancel') },
  changeWebhook: { prepare: webhook('put', false, { scope: 'USER', webhookUrl: hookUrl() }) },
  changeWebhookById: { prepare: webhook('put', true, { enabled: false, description: 'Switched off' }) },
  changeMaintenance: maintenance('patch'),
  clearSecrets: {
    async prepare(world) {
      await world.harness.deps.settings.save({ github_token: 'marker-cleared' }, { enteredBy: 'user' });
      return { method: 'put', path: '/api/admin/settings', body: { keys: ['githubToken'] } };
    },
  },
  createWebhook: {
    prepare: async () => ({ method: 'post', path: HOOKS, body: { name: key('hook'), webhookUrl: hookUrl() } }),
  },
  deleteWebhook: { prepare: webhook('delete', false) },
  deleteWebhookById: { prepare: webhook('delete', true) },
  createUser: {
    prepare: async () => ({
      method: 'post',
      path: '/api/admin/users',
      body: { email: `${key('new')}@example.com`, username: 'new', roles: ['MEMBER'] },
    }),
  },
  disableUser: {
    prepare: async (world) => ({ method: 'post', path: `/api/admin/users/${await member(world)}/disable` }),
  },
  enableUser: {
    prepare: async (world) => ({
      method: 'post',
      path: `/api/admin/users/${await member(world, { isActive: false })}/enable`,
    }),
  },
  dispatchEvent: {
    prepare: async () => ({
      method: 'post',
      path: '/api/v1/webhook/dispatch',
      headers: API,
      body: { event: 'support.ticket_created', data: { subject: 'marker-subject' } },
    }),
    repeats: 'a program that sends two events sends two',
  },
  exportAudit: {
    prepare: async () => ({ method: 'get', path: '/api/admin/audit/export?format=jsonl' }),
    repeats: 'every export is recorded',
    keepsState: 'it reads',
  },
  postMaintenance: maintenance('post'),
  queueEmail: {
    prepare: async () => ({
      method: 'post',
      path: '/api/v1/email/queue',
      headers: API,
      body: { to: 'ada@example.com', subject: 'Hello', template: 'message', data: { message: 'marker-message' } },
    }),
    repeats: 'a program that sends two emails sends two',
  },
  removeRepository: { prepare: repositories('delete', { repo: 'ours/two' }) },
  replaceRepository: { prepare: repositories('put', { oldRepo: 'ours/two', repo: 'ours/four' }) },
  resendEmail: {
    async prepare({ database }) {
      const id = await queueEmail(database.db, {
        template: 'message',
        to: 'ada@example.com',
        data: { message: 'marker-resent' },
      });
      return { method: 'post', path: `/api/admin/emails/${id}/resend` };
    },
  },
  resendUserVerification: {
    prepare: async (world) => ({
      method: 'post',
      path: `/api/admin/users/${await member(world, { emailVerified: false })}/resend-verification`,
    }),
  },
  retryRun: {
    async prepare({ database }) {
      const id = await queueEmail(database.db, { template: 'message', to: 'ada@example.com', data: { message: 'Hi' } });
      await query(database.db, `update emails set status = 'failed', last_error = 'refused' where id = ?`, [id]);
      return { method: 'post', path: `/api/admin/runs/email/${id}/retry` };
    },
  },
  resendWebhookDelivery: { prepare: delivery('resend') },
  saveSettings: {
    async prepare(world) {
      await world.harness.deps.settings.save({ site_name: key('before') }, { enteredBy: 'user' });
      return {
        method: 'post',
        path: '/api/admin/settings',
        body: { siteName: 'after', resendApiKey: key('marker-resend') },
      };
    },
  },
  saveSetup: {
    async prepare(world) {
      await world.harness.deps.settings.save({ site_name: key('before') }, { enteredBy: 'user' });
      return { method: 'post', path: '/api/v1/setup', body: { siteName: 'after' } };
    },
  },
  saveSyncSettings: {
    prepare: async () => ({
      method: 'post',
      path: '/api/admin/sync/settings',
      body: { autoSyncInterval: 600 + Math.floor(Math.random() * 10_000) },
    }),
  },
  setUserRoles: {
    prepare: async (world) => ({
      method: 'post',
      path: '/api/admin/users/roles',
      body: { userId: await member(world), roles: ['MEMBER', 'PARTNER'] },
    }),
  },
  signOutUser: {
    async prepare(world) {
      const id = await member(world);
      await query(
        world.database.db,
        `insert into sessions (id, "sessionToken", "userId", expires) values (?, ?, ?, now() + interval '1 day')`,
        [key('session'), key('marker-session'), id],
      );
      return { method: 'post', path: `/api/admin/users/${id}/sign-out` };
    },
  },
  startAllocationsSync: startSync('allocations'),
  startDatabasesSync: startSync('databases'),
  startFullSync: startSync('full'),
  startLocationsSync: startSync('locations'),
  startNestsSync: startSync('nests'),
  startNodesSync: startSync('nodes'),
  startServersSync: startSync('servers'),
  startSync: {
    async prepare(world) {
      await endSyncs(world);
      return { method: 'post', path: '/api/admin/sync', body: { type: 'nodes' } };
    },
  },
  startUsersSync: startSync('users'),
  testWebhook: { prepare: webhook('patch', false), repeats: TESTS_REPEAT },
  testWebhookById: { prepare: webhook('patch', true), repeats: TESTS_REPEAT },
  testConnection: {
    prepare: async () => ({ method: 'post', path: '/api/admin/settings/test?type=database', body: {} }),
  },
  testSetupConnections: {
    prepare: async () => ({
      method: 'post',
      path: '/api/v1/setup/test',
      body: { pterodactylUrl: 'http://169.254.0.1', pterodactylApiKey: 'marker-typed' },
    }),
  },
};

/** Routes of visitors and customers, with the events that they record or why they record none. */
export const CUSTOMERS: Readonly<Record<string, string>> = {
  changeEmail: 'email-changed',
  changePassword: 'password-changed',
  denyAccount: 'account-denied',
  forgotPassword: 'password-reset-requested',
  login: 'sign-in',
  logout: 'sign-out',
  redeemMagicLink: 'sign-in',
  refreshTokens: 'none: it goes on with a session; the use of a spent token is token-reuse',
  register: 'account-created',
  requestMagicLink: 'none: it queues an email; the sign-in by it is recorded',
  resendVerification: 'none: it queues an email; the verification by it is recorded',
  resetPassword: 'password-reset',
  updateAccount: "none: a customer's own profile",
  validateCredentials: 'sign-in',
  verifyEmail: 'email-verified',
};
