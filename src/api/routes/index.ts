/** The route table: what is mounted and what the document describes. */
import type { Route } from '../route.ts';
import { accountRoutes } from './account.ts';
import { adminSyncRoutes } from './admin-sync.ts';
import { authRoutes } from './auth.ts';
import { authLinkRoutes } from './auth-links.ts';
import { dashboardRoutes } from './dashboard.ts';
import { emailRoutes } from './email.ts';
import { healthRoutes } from './health.ts';
import { metricsRoutes } from './metrics.ts';
import { setupRoutes } from './setup.ts';
import { statsRoutes } from './stats.ts';
import { syncRoutes } from './sync.ts';

export const routes: readonly Route[] = [
  ...healthRoutes,
  ...metricsRoutes,
  ...setupRoutes,
  ...statsRoutes,
  ...authRoutes,
  ...authLinkRoutes,
  ...dashboardRoutes,
  ...accountRoutes,
  ...syncRoutes,
  ...adminSyncRoutes,
  ...emailRoutes,
];
