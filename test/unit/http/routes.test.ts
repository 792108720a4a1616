import { describe, expect, test } from 'vitest';
import { routes } from '../../../src/api/routes/index.ts';

describe('route table', () => {
  test('methods, paths, operation ids and auth modes are part of the contract and do not change by accident', () => {
    const table = routes
      .map((r) => `${r.method.toUpperCase().padEnd(6)} ${r.path}  ${r.operationId}  ${r.auth}`)
      .sort();
    expect(`\n${table.join('\n')}\n`).toMatchInlineSnapshot(`
      "
      DELETE /api/admin/hytale/accounts/:id  deleteHytaleAccount  admin
      DELETE /api/admin/hytale/sessions/:id  deleteHytaleSession  admin
      DELETE /api/admin/settings/repos  removeRepository  admin
      DELETE /api/admin/settings/webhooks  deleteWebhook  admin
      DELETE /api/admin/settings/webhooks/:id  deleteWebhookById  admin
      DELETE /api/hytale/game-session  deleteHytaleGameSessionShort  hytale
      GET    /api/admin/allocations  listAllocations  admin
      GET    /api/admin/audit  listAuditEvents  admin
      GET    /api/admin/audit/export  exportAudit  admin
      GET    /api/admin/eggs  listEggs  admin
      GET    /api/admin/emails  listEmails  admin
      GET    /api/admin/emails/:id  getEmail  admin
      GET    /api/admin/hytale/accounts  listHytaleAccounts  admin
      GET    /api/admin/hytale/accounts/:id  getHytaleAccount  admin
      GET    /api/admin/hytale/logins/:id  getHytaleLogin  admin
      GET    /api/admin/hytale/sessions  listHytaleSessions  admin
      GET    /api/admin/hytale/sessions/:id  getHytaleSession  admin
      GET    /api/admin/locations  listLocations  admin
      GET    /api/admin/nests  listNests  admin
      GET    /api/admin/nodes  listNodes  admin
      GET    /api/admin/nodes/:id/allocations  listNodeAllocations  admin
      GET    /api/admin/runs  listRuns  admin
      GET    /api/admin/runs/:kind/:id  getRun  admin
      GET    /api/admin/servers  listServers  admin
      GET    /api/admin/settings  getSettings  admin
      GET    /api/admin/settings/repos  listRepositories  admin
      GET    /api/admin/settings/webhooks  listWebhooks  admin
      GET    /api/admin/settings/webhooks/:id  getWebhook  admin
      GET    /api/admin/stats  getAdminStats  admin
      GET    /api/admin/sync  getSyncState  admin
      GET    /api/admin/sync/logs  listAdminSyncLogs  admin
      GET    /api/admin/sync/logs/:id  getSyncLog  admin
      GET    /api/admin/sync/settings  getSyncSettings  admin
      GET    /api/admin/sync/stream/:id  streamSync  adminQueryToken
      GET    /api/admin/users  listUsers  admin
      GET    /api/admin/users/:id  getUser  admin
      GET    /api/admin/webhook-deliveries  listWebhookDeliveries  admin
      GET    /api/admin/webhook-deliveries/:id  getWebhookDelivery  admin
      GET    /api/hytale/logs  listHytaleLogsShort  hytale
      GET    /api/hytale/server-logs  listHytaleServerLogsShort  hytaleReader
      GET    /api/hytale/server-logs/count  countHytaleServerLogsShort  hytaleReader
      GET    /api/panel/counts  getPanelCounts  public
      GET    /api/panel/nodes  getPublicNodes  public
      GET    /api/stats  getSiteStats  public
      GET    /api/v1/auth/check-email  checkEmail  public
      GET    /api/v1/auth/me  getMe  user
      GET    /api/v1/auth/not-me  showDenial  public
      GET    /api/v1/auth/users/:id  getAuthUser  apiKeyOrUser
      GET    /api/v1/dashboard/account  getAccount  user
      GET    /api/v1/dashboard/servers  listDashboardServers  user
      GET    /api/v1/dashboard/stats  getDashboardStats  user
      GET    /api/v1/hytale/logs  listHytaleLogs  hytale
      GET    /api/v1/hytale/oauth/jwks  getHytaleKeys  hytale
      GET    /api/v1/hytale/server-logs  listHytaleServerLogs  hytaleReader
      GET    /api/v1/hytale/server-logs/count  countHytaleServerLogs  hytaleReader
      GET    /api/v1/queues/stats  getQueueStats  apiKeyOrAdmin
      GET    /api/v1/setup  getSetup  public
      GET    /api/v1/stats/admin  getAdminStatsV1  apiKeyOrAdmin
      GET    /api/v1/stats/overview  getOverviewStats  apiKeyOrAdmin
      GET    /api/v1/stats/servers  getServerStats  apiKeyOrAdmin
      GET    /api/v1/stats/users  getUserStats  apiKeyOrAdmin
      GET    /api/v1/sync/latest  getLatestSyncs  apiKeyOrAdmin
      GET    /api/v1/sync/logs  listSyncLogs  apiKeyOrAdmin
      GET    /api/v1/sync/status/:id  getSyncStatus  apiKeyOrAdmin
      GET    /health  getHealth  public
      GET    /health/live  getLiveness  public
      GET    /health/ready  getReadiness  public
      GET    /metrics  getMetrics  apiKeyOrAdmin
      PATCH  /api/admin/nodes/:id/maintenance  changeMaintenance  admin
      PATCH  /api/admin/settings/webhooks  testWebhook  admin
      PATCH  /api/admin/settings/webhooks/:id  testWebhookById  admin
      PATCH  /api/hytale/game-session  refreshHytaleGameSessionShort  hytale
      POST   /api/admin/emails/:id/resend  resendEmail  admin
      POST   /api/admin/hytale/accounts/:id/disconnect  disconnectHytaleAccount  admin
      POST   /api/admin/hytale/accounts/:id/profile  chooseHytaleProfile  admin
      POST   /api/admin/hytale/accounts/:id/refresh  refreshHytaleAccount  admin
      POST   /api/admin/hytale/accounts/:id/relogin  reloginHytaleAccount  admin
      POST   /api/admin/hytale/logins  startHytaleLogin  admin
      POST   /api/admin/hytale/logins/:id/cancel  cancelHytaleLogin  admin
      POST   /api/admin/hytale/sessions  startHytaleSession  admin
      POST   /api/admin/hytale/sessions/:id/end  endHytaleSession  admin
      POST   /api/admin/hytale/sessions/:id/link  linkHytaleSession  admin
      POST   /api/admin/hytale/sessions/:id/refresh  refreshHytaleSession  admin
      POST   /api/admin/hytale/sessions/:id/renew  renewHytaleSession  admin
      POST   /api/admin/nodes/:id/maintenance  postMaintenance  admin
      POST   /api/admin/runs/:kind/:id/retry  retryRun  admin
      POST   /api/admin/settings  saveSettings  admin
      POST   /api/admin/settings/repos  addRepository  admin
      POST   /api/admin/settings/test  testConnection  admin
      POST   /api/admin/settings/webhooks  createWebhook  admin
      POST   /api/admin/sync  startSync  admin
      POST   /api/admin/sync/cancel  cancelSync  admin
      POST   /api/admin/sync/settings  saveSyncSettings  admin
      POST   /api/admin/users  createUser  admin
      POST   /api/admin/users/:id/disable  disableUser  admin
      POST   /api/admin/users/:id/enable  enableUser  admin
      POST   /api/admin/users/:id/resend-verification  resendUserVerification  admin
      POST   /api/admin/users/:id/sign-out  signOutUser  admin
      POST   /api/admin/users/roles  setUserRoles  admin
      POST   /api/admin/webhook-deliveries/:id/cancel  cancelWebhookDelivery  admin
      POST   /api/admin/webhook-deliveries/:id/resend  resendWebhookDelivery  admin
      POST   /api/hytale/device-code  requestHytaleDeviceCodeShort  hytale
      POST   /api/hytale/game-session  createHytaleGameSessionShort  hytale
      POST   /api/hytale/profiles  listHytaleProfilesShort  hytale
      POST   /api/hytale/refresh-token  refreshHytaleTokenShort  hytale
      POST   /api/hytale/select-profile  selectHytaleProfileShort  hytale
      POST   /api/hytale/server-logs  pushHytaleServerLogsShort  hytaleNode
      POST   /api/hytale/token-poll  pollHytaleTokenShort  hytale
      POST   /api/v1/auth/forgot-password  forgotPassword  public
      POST   /api/v1/auth/login  login  public
      POST   /api/v1/auth/logout  logout  public
      POST   /api/v1/auth/magic-link  requestMagicLink  public
      POST   /api/v1/auth/magic-link/verify  redeemMagicLink  public
      POST   /api/v1/auth/not-me  denyAccount  public
      POST   /api/v1/auth/refresh  refreshTokens  public
      POST   /api/v1/auth/register  register  public
      POST   /api/v1/auth/reset-password  resetPassword  public
      POST   /api/v1/auth/validate  validateCredentials  public
      POST   /api/v1/auth/verify-email  verifyEmail  public
      POST   /api/v1/dashboard/account/change-email  changeEmail  user
      POST   /api/v1/dashboard/account/resend-verification  resendVerification  user
      POST   /api/v1/email/queue  queueEmail  apiKeyOrAdmin
      POST   /api/v1/hytale/oauth/device-code  requestHytaleDeviceCode  hytale
      POST   /api/v1/hytale/oauth/game-session/delete  deleteHytaleGameSession  hytale
      POST   /api/v1/hytale/oauth/game-session/new  createHytaleGameSession  hytale
      POST   /api/v1/hytale/oauth/game-session/refresh  refreshHytaleGameSession  hytale
      POST   /api/v1/hytale/oauth/jwks/refresh  refreshHytaleKeys  hytale
      POST   /api/v1/hytale/oauth/profiles  listHytaleProfiles  hytale
      POST   /api/v1/hytale/oauth/refresh  refreshHytaleToken  hytale
      POST   /api/v1/hytale/oauth/select-profile  selectHytaleProfile  hytale
      POST   /api/v1/hytale/oauth/token  pollHytaleToken  hytale
      POST   /api/v1/hytale/oauth/validate-token  validateHytaleToken  hytale
      POST   /api/v1/hytale/server-logs  pushHytaleServerLogs  hytaleNode
      POST   /api/v1/setup  saveSetup  setup
      POST   /api/v1/setup/test  testSetupConnections  setup
      POST   /api/v1/sync/allocations  startAllocationsSync  apiKeyOrAdmin
      POST   /api/v1/sync/cancel/:id  cancelSyncById  apiKeyOrAdmin
      POST   /api/v1/sync/databases  startDatabasesSync  apiKeyOrAdmin
      POST   /api/v1/sync/full  startFullSync  apiKeyOrAdmin
      POST   /api/v1/sync/locations  startLocationsSync  apiKeyOrAdmin
      POST   /api/v1/sync/nests  startNestsSync  apiKeyOrAdmin
      POST   /api/v1/sync/nodes  startNodesSync  apiKeyOrAdmin
      POST   /api/v1/sync/servers  startServersSync  apiKeyOrAdmin
      POST   /api/v1/sync/users  startUsersSync  apiKeyOrAdmin
      POST   /api/v1/webhook/dispatch  dispatchEvent  apiKeyOrAdmin
      PUT    /api/admin/settings  clearSecrets  admin
      PUT    /api/admin/settings/repos  replaceRepository  admin
      PUT    /api/admin/settings/webhooks  changeWebhook  admin
      PUT    /api/admin/settings/webhooks/:id  changeWebhookById  admin
      PUT    /api/v1/dashboard/account  updateAccount  user
      PUT    /api/v1/dashboard/account/password  changePassword  user
      "
    `);
  });

  test('operation ids and paths are unique per method', () => {
    const ids = routes.map((r) => r.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    const paths = routes.map((r) => `${r.method} ${r.path.toLowerCase()}`);
    expect(new Set(paths).size).toBe(paths.length);
  });

  test('every path parameter is declared', () => {
    for (const route of routes) expect(route.path.includes(':'), route.path).toBe(route.params !== undefined);
  });

  test('no route for administrators or programs is public', () => {
    for (const route of routes) {
      if (route.path.startsWith('/api/admin/')) expect(['admin', 'adminQueryToken']).toContain(route.auth);
      if (/^\/api\/v1\/(sync|stats)\//.test(route.path)) expect(route.auth).toBe('apiKeyOrAdmin');
    }
  });

  test('only public routes outside sign-in and setup may be cached', () => {
    const cached = routes.filter((route) => route.cache !== undefined);
    expect(cached.map((route) => route.path)).toEqual(['/api/stats', '/api/panel/counts', '/api/panel/nodes']);
    for (const route of cached) {
      expect([route.auth, route.method], route.path).toEqual(['public', 'get']);
      expect(route.path, route.path).not.toMatch(/^\/api\/v1\/(auth|setup)(\/|$)/);
      expect(route.cache?.maxAgeSeconds).toBeLessThanOrEqual(60);
    }
  });

  test('bodies are limited to 64 KiB, to less in the sign-in area, and to more where the contract allows it (S7)', () => {
    const inSignIn = routes.filter((route) => route.path.startsWith('/api/v1/auth/'));
    expect(new Set(inSignIn.map((route) => route.bodyLimitBytes))).toEqual(new Set([16 * 1024]));
    const others = routes.filter((route) => !inSignIn.includes(route) && route.bodyLimitBytes !== undefined);
    expect(others.map((route) => [route.operationId, route.bodyLimitBytes])).toEqual([
      ['saveSettings', 1024 * 1024],
      ['createWebhook', 1024 * 1024],
      ['changeWebhook', 1024 * 1024],
      ['changeWebhookById', 1024 * 1024],
      ['queueEmail', 128 * 1024],
      ['pushHytaleServerLogs', 4 * 1024 * 1024],
      ['pushHytaleServerLogsShort', 4 * 1024 * 1024],
    ]);
  });

  test('only batches of console lines may be compressed, or hold characters that are replaced', () => {
    const read = routes.filter((route) => route.bodyReading !== undefined);
    expect(read.map((route) => [route.operationId, route.bodyReading])).toEqual([
      ['pushHytaleServerLogs', { gzip: true, repaired: true }],
      ['pushHytaleServerLogsShort', { gzip: true, repaired: true }],
    ]);
  });

  test('every route that strangers may call has a rate limit that is checked before the body is read (S7)', () => {
    const open = routes.filter((route) => ['public', 'setup'].includes(route.auth));
    const unlimited = open.filter((route) => route.limits?.some((rule) => rule.by.beforeBody) !== true);
    // The site asks for its health before every page, and shows its set-up page to all visitors when that is refused: the
    // checks are shared by all callers instead.
    expect(unlimited.map((route) => route.path)).toEqual(['/health', '/health/live', '/health/ready']);
  });
});
