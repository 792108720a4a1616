/** `/api/admin/users`: the people of an installation, for its administrators. */
import { z } from 'zod';
import { AppError } from '../../../domain/errors.ts';
import {
  countUsers,
  countUsersByState,
  findListedUser,
  type ListedUser,
  listUsers,
  USER_STATES,
  type UserFilter,
} from '../../../store/accounts/user-list.ts';
import type { Services } from '../../context.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import { clampedInteger, PageNumber, PathId, searchText, wordFilter } from '../../http/fields.ts';
import { Pagination, paginationOf, rowsOf, sortWord } from '../../http/lists.ts';
import { defineRoute, type Route } from '../../http/route.ts';

const area = { tags: ['Admin: users'], auth: 'admin' } as const;

const AdminUserSchema = z
  .object({
    id: z.string(),
    email: z.string(),
    username: z.string(),
    firstName: z.string(),
    lastName: z.string(),
    pterodactylId: z.int().nullable(),
    roles: z.array(z.string()),
    isPterodactylAdmin: z.boolean(),
    isVirtfusionAdmin: z.boolean(),
    isSystemAdmin: z.boolean(),
    isMigrated: z.boolean(),
    isActive: z.boolean(),
    emailVerified: z.boolean(),
    createdAt: IsoDate,
    updatedAt: IsoDate,
    lastLoginAt: IsoDate.nullable(),
    serverCount: Count.meta({ description: 'Servers that the user owns' }),
    sessionCount: Count.meta({ description: 'Sign-ins that still last' }),
  })
  .meta({ id: 'AdminUser', description: 'A user as administrators see it' });

/** The user for an answer: null names of old rows become "", panel id 0 becomes null. */
const toAdminUser = (user: ListedUser): z.input<typeof AdminUserSchema> => ({
  ...user,
  username: user.username ?? '',
  firstName: user.firstName ?? '',
  lastName: user.lastName ?? '',
  pterodactylId: user.pterodactylId || null,
  emailVerified: user.emailVerified !== null,
  createdAt: user.createdAt.toISOString(),
  updatedAt: user.updatedAt.toISOString(),
  lastLoginAt: user.lastLoginAt?.toISOString() ?? null,
});

const StatsSchema = z
  .object({ totalUsers: Count, migratedUsers: Count, adminCount: Count, activeCount: Count })
  .meta({ id: 'UserStatistics', description: 'Numbers of all users, whatever the filter; at most a second old' });

const SORTS = ['username', 'email', 'createdAt', 'lastLoginAt', 'updatedAt', 'created'] as const;
const sortField = sortWord(SORTS, 'Default: createdAt. Users without a value are last in both orders');
const sortOrder = sortWord(['asc', 'desc'], 'Default: desc');

/** The numbers of the list: the total that the filter leaves, and the statistics. Without a search both are one count. */
async function totalsOf({ db, totals, userCounts }: Services, filter: UserFilter) {
  const counts = await userCounts.of('users', {}, () => countUsersByState(db));
  const total =
    filter.search === undefined
      ? counts[filter.state ?? 'all']
      : await totals.of('users', { ...filter }, () => countUsers(db, filter));
  const stats = {
    totalUsers: counts.all,
    migratedUsers: counts.migrated,
    adminCount: counts.admin,
    activeCount: counts.active,
  };
  return { total, stats };
}

/** @throws {AppError} NOT_FOUND */
async function adminUser({ db }: Services, id: string): Promise<z.input<typeof AdminUserSchema>> {
  const user = await findListedUser(db, id);
  if (user === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'User not found' });
  return toAdminUser(user);
}

export const adminUserRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/admin/users',
    operationId: 'listUsers',
    summary: 'Users',
    query: z.object({
      page: PageNumber,
      pageSize: clampedInteger({ min: 1, max: 100, fallback: 25 }),
      search: searchText('Part of the email address or of the username, in any case'),
      filter: wordFilter(USER_STATES, '`admin`: any flag or role of an administrator. Other words do not filter'),
      sort: sortField,
      sortField: sortField.meta({ description: 'Another spelling of `sort`' }),
      order: sortOrder,
      sortOrder: sortOrder.meta({ description: 'Another spelling of `order`' }),
    }),
    responses: {
      200: z.object({
        success: z.literal(true),
        users: z.array(AdminUserSchema),
        pagination: Pagination,
        stats: StatsSchema,
      }),
    },
    errors: [],
    failureMessage: 'Failed to fetch users',
    async handler({ input: { query }, deps }) {
      const filter = { search: query.search, state: query.filter };
      const named = query.sort ?? query.sortField ?? 'createdAt';
      const sort = named === 'created' ? 'createdAt' : named;
      const order = query.order ?? query.sortOrder ?? 'desc';
      const [users, { total, stats }] = await Promise.all([
        listUsers(deps.db, filter, { sort, order, ...rowsOf(query) }),
        totalsOf(deps, filter),
      ]);
      const body = {
        success: true as const,
        users: users.map(toAdminUser),
        pagination: paginationOf(query, total),
        stats,
      };
      return { status: 200, body };
    },
  }),
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/admin/users/:id',
    operationId: 'getUser',
    summary: 'One user',
    params: PathId,
    responses: { 200: z.object({ success: z.literal(true), user: AdminUserSchema }) },
    errors: ['NOT_FOUND'],
    failureMessage: 'Failed to fetch users',
    async handler({ input, deps }) {
      return { status: 200, body: { success: true, user: await adminUser(deps, input.params.id) } };
    },
  }),
];
