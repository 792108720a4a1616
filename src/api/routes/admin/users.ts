/** `/api/admin/users`: the people of an installation, for its administrators. */
import { z } from 'zod';
import { ROLES } from '../../../domain/accounts/roles.ts';
import type { AuditAction, AuditOrigin } from '../../../domain/audit.ts';
import { AppError } from '../../../domain/errors.ts';
import { inviteUser } from '../../../services/accounts/invite.ts';
import { readRoles, setActive, setRoles } from '../../../services/accounts/roles.ts';
import { signOutUser } from '../../../services/accounts/sessions.ts';
import { resendVerificationTo } from '../../../services/accounts/verify-email.ts';
import {
  countUsers,
  countUsersByState,
  findListedUser,
  type ListedUser,
  listUsers,
  USER_STATES,
  type UserFilter,
} from '../../../store/accounts/user-list.ts';
import { changedBy, type Services } from '../../context.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import {
  BodyText,
  clampedInteger,
  documentedAs,
  OptionalText,
  PageNumber,
  PathId,
  searchText,
  wordFilter,
} from '../../http/fields.ts';
import { byUser, type LimitRule } from '../../http/limits.ts';
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

const RoleNames = z
  .array(z.string())
  .nullish()
  .meta(documentedAs({ type: 'array', items: { type: 'string', enum: [...ROLES] } }));
const HeldRoles = z.object({ userId: z.string(), roles: z.array(z.string()), isSystemAdmin: z.boolean() });
const unreadable = { code: 'BAD_REQUEST', publicMessage: 'Invalid request body' } as const;

/** Sets the roles of a user. @throws {AppError} BAD_REQUEST for a form without its fields, and what the service throws. */
async function changeRoles(
  { db }: Services,
  form: { userId: string; roles?: readonly string[] | null | undefined },
  by: AuditOrigin,
): Promise<z.input<typeof HeldRoles>> {
  const userId = form.userId.trim();
  if (userId === '') throw new AppError('BAD_REQUEST', { publicMessage: 'userId is required' });
  if (!Array.isArray(form.roles)) throw new AppError('BAD_REQUEST', unreadable);
  const { roles, isSystemAdmin } = await setRoles(db, userId, { set: readRoles(form.roles) }, by);
  return { userId, roles, isSystemAdmin };
}

/** Emails that an administrator causes: a person sends by hand. */
const emailLimit = (name: string): LimitRule[] => [{ name, max: 60, windowSeconds: 3600, by: byUser }];

/** A change of one account that a path names. A repeat has no further effect. */
const accountChange = (
  name: string,
  facts: { operationId: string; summary: string; description?: string; audit: AuditAction; limits?: LimitRule[] },
  change: (deps: Services, id: string, by: AuditOrigin) => Promise<unknown>,
  message: string,
): Route =>
  defineRoute({
    ...area,
    ...facts,
    method: 'post',
    path: `/api/admin/users/:id/${name}`,
    params: PathId,
    responses: { 200: z.object({ success: z.literal(true), message: z.string(), user: AdminUserSchema }) },
    errors: ['NOT_FOUND', 'CONFLICT'],
    failureMessage: 'Failed to update user',
    async handler({ input, caller, origin, deps }) {
      const { id } = input.params;
      await change(deps, id, changedBy({ caller, origin }));
      return { status: 200, body: { success: true, message, user: await adminUser(deps, id) } };
    },
  });

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
  defineRoute({
    ...area,
    method: 'post',
    path: '/api/admin/users',
    operationId: 'createUser',
    summary: 'Create a user, who gets an email with a link to set a password',
    description:
      'The link is valid for 7 days. The same request again within five minutes gives the same user, with 200. A body with `userId` and `roles` changes the roles of that user instead.',
    limits: emailLimit('create-user'),
    audit: 'account-created',
    invalid: unreadable,
    body: z.object({
      email: BodyText,
      username: OptionalText.meta({ description: 'Default: the part of the address before the @' }),
      firstName: OptionalText,
      lastName: OptionalText,
      roles: RoleNames.meta({ description: 'Default: MEMBER' }),
      userId: OptionalText,
    }),
    responses: {
      200: z.object({ success: z.literal(true), data: HeldRoles, user: AdminUserSchema }),
      201: z.object({ success: z.literal(true), data: HeldRoles, user: AdminUserSchema }),
    },
    errors: ['VALIDATION_ERROR', 'INVALID_REQUEST', 'NOT_FOUND', 'EMAIL_EXISTS', 'CONFLICT'],
    failureMessage: 'Failed to create user',
    async handler({ input: { body }, caller, origin, deps }) {
      const by = changedBy({ caller, origin });
      const { id, created } =
        body.userId.trim() === ''
          ? await inviteUser(deps, body, by)
          : { id: (await changeRoles(deps, body, by)).userId, created: false };
      const user = await adminUser(deps, id);
      const data = { userId: id, roles: user.roles, isSystemAdmin: user.isSystemAdmin };
      return { status: created ? 201 : 200, body: { success: true, data, user } };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: '/api/admin/users/roles',
    operationId: 'setUserRoles',
    summary: 'Set the roles of a user',
    description:
      'Only a system administrator gives or removes ADMINISTRATOR and SUPER_ADMIN, and changes a system administrator. The last system administrator who can sign in keeps the role.',
    audit: 'roles-changed',
    invalid: unreadable,
    body: z.object({ userId: BodyText, roles: RoleNames }),
    responses: { 200: z.object({ success: z.literal(true), data: HeldRoles }) },
    errors: ['VALIDATION_ERROR', 'NOT_FOUND', 'CONFLICT'],
    failureMessage: 'Failed to update user roles',
    async handler({ input: { body }, caller, origin, deps }) {
      const data = await changeRoles(deps, body, changedBy({ caller, origin }));
      return { status: 200, body: { success: true, data } };
    },
  }),
  accountChange(
    'disable',
    {
      operationId: 'disableUser',
      summary: 'Refuse sign-in and end all sessions',
      description: 'Not for the own account, and not for the last system administrator who can sign in.',
      audit: 'account-disabled',
    },
    ({ db }, id, by) => setActive(db, id, false, by),
    'Account disabled',
  ),
  accountChange(
    'enable',
    { operationId: 'enableUser', summary: 'Let a disabled user sign in again', audit: 'account-enabled' },
    ({ db }, id, by) => setActive(db, id, true, by),
    'Account enabled',
  ),
  accountChange(
    'sign-out',
    {
      operationId: 'signOutUser',
      summary: 'End all sessions of a user, and the open links that sign in or set a password',
      audit: 'sessions-ended',
    },
    signOutUser,
    'All sessions ended',
  ),
  accountChange(
    'resend-verification',
    {
      operationId: 'resendUserVerification',
      summary: 'Send the verification email again',
      description: 'A user without a password gets a link to set one, which verifies the address as well.',
      audit: 'verification-resent',
      limits: emailLimit('resend-user-verification'),
    },
    resendVerificationTo,
    'Verification email has been queued',
  ),
];
