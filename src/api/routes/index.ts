/** The route table: what is mounted and what the document describes. */
import type { Route } from '../route.ts';
import { adminSyncRoutes } from './admin-sync.ts';
import { authRoutes } from './auth.ts';
import { authLinkRoutes } from './auth-links.ts';
import { healthRoutes } from './health.ts';
import { statsRoutes } from './stats.ts';
import { syncRoutes } from './sync.ts';

export const routes: readonly Route[] = [
  ...healthRoutes,
  ...statsRoutes,
  ...authRoutes,
  ...authLinkRoutes,
  ...syncRoutes,
  ...adminSyncRoutes,
];
