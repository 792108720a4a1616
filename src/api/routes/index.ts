/** The route table: what is mounted and what the document describes. */
import type { Route } from '../http/route.ts';
import { allocationRoutes } from './admin/allocations.ts';
import { adminAuditRoutes } from './admin/audit.ts';
import { eggRoutes } from './admin/eggs.ts';
import { hytaleAccountRoutes } from './admin/hytale-accounts.ts';
import { hytaleSessionAdminRoutes } from './admin/hytale-sessions.ts';
import { nodeRoutes } from './admin/nodes.ts';
import { repositoryRoutes } from './admin/repositories.ts';
import { runRoutes } from './admin/runs.ts';
import { adminServerRoutes } from './admin/servers.ts';
import { settingsRoutes } from './admin/settings.ts';
import { adminUserRoutes } from './admin/users.ts';
import { webhookDeliveryRoutes } from './admin/webhook-deliveries.ts';
import { webhookRoutes } from './admin/webhooks.ts';
import { denialRoutes } from './auth/denial.ts';
import { authLinkRoutes } from './auth/links.ts';
import { sessionRoutes } from './auth/sessions.ts';
import { signInRoutes } from './auth/sign-in.ts';
import { accountRoutes } from './dashboard/account.ts';
import { dashboardRoutes } from './dashboard/servers.ts';
import { emailRoutes } from './email.ts';
import { healthRoutes } from './health.ts';
import { hytaleLogRoutes } from './hytale/logs.ts';
import { hytaleOauthRoutes } from './hytale/oauth.ts';
import { hytalePushRoutes } from './hytale/push-logs.ts';
import { hytaleServerLogListRoutes } from './hytale/server-log-lists.ts';
import { hytaleSessionRoutes } from './hytale/sessions.ts';
import { hytaleTokenRoutes } from './hytale/tokens.ts';
import { metricsRoutes } from './metrics.ts';
import { queueRoutes } from './queues.ts';
import { setupRoutes } from './setup/setup.ts';
import { statsRoutes } from './statistics.ts';
import { adminSyncRoutes } from './sync/admin-sync.ts';
import { syncRoutes } from './sync/sync.ts';
import { dispatchRoutes } from './webhooks.ts';

export const routes: readonly Route[] = [
  ...healthRoutes,
  ...metricsRoutes,
  ...setupRoutes,
  ...settingsRoutes,
  ...repositoryRoutes,
  ...webhookRoutes,
  ...webhookDeliveryRoutes,
  ...statsRoutes,
  ...signInRoutes,
  ...sessionRoutes,
  ...authLinkRoutes,
  ...denialRoutes,
  ...dashboardRoutes,
  ...accountRoutes,
  ...adminServerRoutes,
  ...nodeRoutes,
  ...allocationRoutes,
  ...eggRoutes,
  ...syncRoutes,
  ...adminSyncRoutes,
  ...emailRoutes,
  ...dispatchRoutes,
  ...queueRoutes,
  ...runRoutes,
  ...adminUserRoutes,
  ...adminAuditRoutes,
  ...hytaleOauthRoutes,
  ...hytaleSessionRoutes,
  ...hytaleTokenRoutes,
  ...hytaleLogRoutes,
  ...hytaleServerLogListRoutes,
  ...hytalePushRoutes,
  ...hytaleAccountRoutes,
  ...hytaleSessionAdminRoutes,
];
