/** `/api/admin/hytale/{accounts,logins}`: the Hytale accounts, what each waits for, and how they are signed in. */
import { z } from 'zod';
import { AppError } from '../../../domain/errors.ts';
import { ACCOUNT_STATUSES } from '../../../domain/hytale/lifecycle.ts';
import { readUuid } from '../../../domain/uuid.ts';
import { countAccounts, listAccounts } from '../../../store/hytale/account-list.ts';
import type { Services } from '../../context.ts';
import { BodyText, clampedInteger, PageNumber, PathId, searchText, wordFilter } from '../../http/fields.ts';
import { Pagination, paginationOf, rowsOf } from '../../http/lists.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { requesterOf, required, UPSTREAM_ERRORS, uuidIn } from '../hytale/shapes.ts';
import { HytaleAccountSchema, HytaleLoginSchema, toWireAccount, toWireLogin } from './hytale-shapes.ts';

const ACCOUNTS = '/api/admin/hytale/accounts';
const LOGINS = '/api/admin/hytale/logins';
const area = { tags: ['Admin: Hytale'], auth: 'admin' } as const;
const Done = z.object({ success: z.literal(true), message: z.string() });
const LoginAnswer = z.object({ success: z.literal(true), login: HytaleLoginSchema });
const AccountAnswer = z.object({ success: z.literal(true), account: HytaleAccountSchema });

const unknownAccount = () => new AppError('NOT_FOUND', { publicMessage: 'No token found for account' });

/** The account of a path. @throws {AppError} NOT_FOUND for a text that is no UUID. */
function accountOf({ id }: { id: string }): string {
  const accountId = readUuid(id);
  if (accountId === undefined) throw unknownAccount();
  return accountId;
}

function loginOf({ id }: { id: string }): string {
  const loginId = readUuid(id);
  if (loginId === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'Login not found' });
  return loginId;
}

/** @throws {AppError} NOT_FOUND. */
async function readAccount(deps: Services, id: string) {
  const { environment } = deps.config.hytale;
  const [row] = await listAccounts(deps.db, { environment, id, limit: 1, offset: 0 });
  if (row === undefined) throw unknownAccount();
  return { success: true as const, account: toWireAccount(row, deps) };
}

/** Starts a login; `accountId`: the account that must approve it. */
async function startLogin(deps: Services, accountId: string | null, call: Parameters<typeof requesterOf>[0]) {
  const login = await deps.hytale.startLogin(accountId, requesterOf(call));
  const expiresAt = new Date(Date.now() + login.expiresInSeconds * 1000);
  const view = { ...login, status: 'pending', reason: null, accountId: null, expiresAt } as const;
  return { success: true as const, login: toWireLogin(login.loginId, view, deps) };
}

const disconnect = defineRoute({
  ...area,
  method: 'post',
  path: `${ACCOUNTS}/:id/disconnect`,
  operationId: 'disconnectHytaleAccount',
  summary: 'End all game sessions of a Hytale account, and delete its tokens',
  description: 'Answers when it has begun. Afterwards a person must sign in again.',
  params: PathId,
  responses: { 202: Done },
  errors: ['NOT_FOUND'],
  failureMessage: 'Failed to disconnect Hytale account',
  audit: 'hytale-account-disconnected',
  async handler({ input: { params }, deps, ...call }) {
    await deps.hytale.disconnect(accountOf(params), requesterOf(call));
    return { status: 202, body: { success: true, message: 'The account is being disconnected' } };
  },
});

export const hytaleAccountRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: ACCOUNTS,
    operationId: 'listHytaleAccounts',
    summary: 'Hytale accounts, newest first: what each waits for, and when its tokens are renewed',
    query: z.object({
      page: PageNumber,
      pageSize: clampedInteger({ min: 1, max: 200, fallback: 25 }),
      status: wordFilter(ACCOUNT_STATUSES, 'Other words do not filter'),
      search: searchText('Part of the id, of the name of the owner or of a profile, in any case'),
    }),
    responses: {
      200: z.object({ success: z.literal(true), accounts: z.array(HytaleAccountSchema), pagination: Pagination }),
    },
    errors: [],
    failureMessage: 'Failed to fetch Hytale accounts',
    async handler({ input: { query }, deps }) {
      const { page, pageSize, ...given } = query;
      const filter = { ...given, environment: deps.config.hytale.environment };
      const total = await deps.totals.of('hytale-accounts', filter, () => countAccounts(deps.db, filter));
      const rows = await listAccounts(deps.db, { ...filter, ...rowsOf({ page, pageSize }) });
      const accounts = rows.map((row) => toWireAccount(row, deps));
      return { status: 200, body: { success: true, accounts, pagination: paginationOf({ page, pageSize }, total) } };
    },
  }),
  defineRoute({
    ...area,
    method: 'get',
    path: `${ACCOUNTS}/:id`,
    operationId: 'getHytaleAccount',
    summary: 'One Hytale account',
    params: PathId,
    responses: { 200: AccountAnswer },
    errors: ['NOT_FOUND'],
    failureMessage: 'Failed to fetch Hytale account',
    async handler({ input: { params }, deps }) {
      return { status: 200, body: await readAccount(deps, accountOf(params)) };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: `${ACCOUNTS}/:id/refresh`,
    operationId: 'refreshHytaleAccount',
    summary: 'Renew the tokens of a Hytale account now',
    params: PathId,
    responses: { 200: AccountAnswer },
    errors: ['NOT_FOUND', 'CONFLICT', ...UPSTREAM_ERRORS],
    failureMessage: 'Failed to refresh token',
    audit: 'hytale-account-refreshed',
    async handler({ input: { params }, deps, ...call }) {
      const id = accountOf(params);
      await deps.hytale.refreshAccount(id, requesterOf(call));
      return { status: 200, body: await readAccount(deps, id) };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: `${ACCOUNTS}/:id/relogin`,
    operationId: 'reloginHytaleAccount',
    summary: 'Sign a Hytale account in again',
    description: 'A person opens the link and approves, as this account. Until then the account goes on as it is.',
    params: PathId,
    responses: { 202: LoginAnswer },
    errors: ['NOT_FOUND', ...UPSTREAM_ERRORS],
    failureMessage: 'Failed to request device code',
    audit: 'hytale-login-started',
    async handler({ input: { params }, deps, ...call }) {
      const { account } = await readAccount(deps, accountOf(params));
      return { status: 202, body: await startLogin(deps, account.id, call) };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: `${ACCOUNTS}/:id/profile`,
    operationId: 'chooseHytaleProfile',
    summary: 'Choose the profile of a Hytale account',
    params: PathId,
    body: z.object({ profile_uuid: BodyText.meta({ description: 'UUID of one of its profiles' }) }),
    responses: { 200: AccountAnswer },
    errors: ['NOT_FOUND', 'CONFLICT', ...UPSTREAM_ERRORS],
    failureMessage: 'Failed to update profile selection',
    audit: 'hytale-profile-selected',
    async handler({ input: { params, body }, deps, ...call }) {
      const id = accountOf(params);
      const profile = uuidIn('profile_uuid', required('profile_uuid', body.profile_uuid));
      await deps.hytale.selectProfile(id, profile, requesterOf(call));
      return { status: 200, body: await readAccount(deps, id) };
    },
  }),
  disconnect,
  { ...disconnect, method: 'delete', path: `${ACCOUNTS}/:id`, operationId: 'deleteHytaleAccount' },
  defineRoute({
    ...area,
    method: 'post',
    path: LOGINS,
    operationId: 'startHytaleLogin',
    summary: 'Sign a Hytale account in, whichever approves',
    description: 'A person opens the link and approves. `GET /api/admin/hytale/logins/{id}` tells what became of it.',
    responses: { 202: LoginAnswer },
    errors: UPSTREAM_ERRORS,
    failureMessage: 'Failed to request device code',
    audit: 'hytale-login-started',
    async handler({ deps, ...call }) {
      return { status: 202, body: await startLogin(deps, null, call) };
    },
  }),
  defineRoute({
    ...area,
    method: 'get',
    path: `${LOGINS}/:id`,
    operationId: 'getHytaleLogin',
    summary: 'What became of the sign-in of a Hytale account',
    params: PathId,
    responses: { 200: LoginAnswer },
    errors: ['NOT_FOUND'],
    failureMessage: 'Failed to fetch Hytale login',
    async handler({ input: { params }, deps }) {
      const login = await deps.hytale.login(loginOf(params));
      return { status: 200, body: { success: true, login: toWireLogin(login.loginId, login, deps) } };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: `${LOGINS}/:id/cancel`,
    operationId: 'cancelHytaleLogin',
    summary: 'Cancel a sign-in that waits for a person',
    params: PathId,
    responses: { 200: Done },
    errors: ['NOT_FOUND'],
    failureMessage: 'Failed to cancel Hytale login',
    audit: 'hytale-login-cancelled',
    async handler({ input: { params }, deps, ...call }) {
      await deps.hytale.cancelLogin(loginOf(params), requesterOf(call));
      return { status: 200, body: { success: true, message: 'The sign-in is cancelled' } };
    },
  }),
];
