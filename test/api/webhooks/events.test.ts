/** What the service itself reports of accounts, security and settings: one event per cause, in its transaction, without secrets. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Secret } from '../../../src/domain/secret.ts';
import { denyAccount } from '../../../src/services/accounts/deny-account.ts';
import { inviteUser } from '../../../src/services/accounts/invite.ts';
import { createUser } from '../../../src/services/accounts/register.ts';
import { setActive, setRoles } from '../../../src/services/accounts/roles.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { accountEvent, recordRefusal } from '../../../src/services/audit/security-events.ts';
import { changeSettings } from '../../../src/services/settings/change-settings.ts';
import { rotateKeys } from '../../../src/services/settings/rotate-keys.ts';
import { emitLimited } from '../../../src/services/webhooks/limited-events.ts';
import { issueToken } from '../../../src/store/accounts/one-time-token-store.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { query } from '../../../src/store/db/query.ts';
import {
  bearer,
  ENCRYPTION_KEY,
  type Harness,
  json,
  makeUser,
  PASSWORD,
  startHarness,
} from '../../support/api/harness.ts';
import { openedSession, post, refresh, resetRateLimits } from '../../support/api/sign-in.ts';
import { randomKey } from '../../support/encrypted.ts';

let harness: Harness;
let admin: { id: string; token: string };
beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { roles: ['SUPER_ADMIN'], isSystemAdmin: true, email: 'root@example.com' });
  await harness.database.db.raw(`
    create table refused_kinds (kind text not null);
    create function refuse_kind() returns trigger language plpgsql as $$
      begin
        if exists (select 1 from refused_kinds k where k.kind = new.kind) then raise exception 'refused: %', new.kind; end if;
        return new;
      end $$;
    create trigger refuse_kind before insert on outbox for each row execute function refuse_kind()`);
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
  await harness.database.db.raw('delete from outbox; delete from refused_kinds');
});

const rows = <T = Record<string, unknown>>(sql: string, bindings: unknown[] = []): Promise<T[]> =>
  query<T>(harness.database.db, sql, bindings);
const refuse = (kind: string) => rows('insert into refused_kinds values (?)', [kind]);
/** Events in the order of writing; emails are effects of the outbox, too. */
const events = () =>
  rows<{ kind: string; payload: Record<string, unknown> }>(
    `select o.kind, o.payload from outbox o where o.kind <> 'email.send' order by o.seq`,
  );
const audited = (action: string, id: string) =>
  rows('select a.id from audit_events a where a.action = ? and a.target_id = ?', [action, id]);
const idOf = async (email: string) =>
  (await rows<{ id: string }>('select u.id from users u where u.email = ?', [email]))[0]?.id;

let serial = 0;
const fresh = (): string => {
  serial += 1;
  return `marker-person-${serial}@example.com`;
};
const register = (email: string) =>
  post(harness, 'register', { email, password: PASSWORD, confirmPassword: PASSWORD, username: 'marker-name' });

describe('user.registered', () => {
  test('one event per account, with its id alone; a refused registration and a sign-in are none', async () => {
    const email = fresh();
    expect((await register(email)).status).toBe(201);
    expect((await register(email)).status).toBe(409);
    const id = await idOf(email);
    expect(await events()).toEqual([{ kind: 'user.registered', payload: { user_id: id } }]);
    const again = { event: 'user.registered', key: String(id), data: { user_id: String(id) } } as const;
    await inTransaction(harness.database.db, (trx) => emitLimited(trx, again, 60));
    expect(await events()).toHaveLength(1);
  });

  test('accounts that an administrator or an operator creates are no registrations', async () => {
    const invitation = { email: fresh(), username: '', firstName: '', lastName: '' };
    await inviteUser(harness.deps, invitation, { actor: { type: 'user', id: admin.id } });
    const made = { email: fresh(), password: PASSWORD, roles: ['MEMBER'], isSystemAdmin: false, emailVerified: true };
    await createUser(harness.database.db, made);
    expect(await events()).toEqual([]);
  });

  test('the account and its event are kept together or not at all', async () => {
    const email = fresh();
    await refuse('user.registered');
    expect((await register(email)).status).toBe(500);
    expect([await idOf(email), await events()]).toEqual([undefined, []]);
  });

  test('a flood of registrations is reported up to a limit, and registers all the same', async () => {
    const event = (key: number) => ({ event: 'user.registered', key: `flood-${key}`, data: {} }) as const;
    await inTransaction(harness.database.db, async (trx) => {
      for (let i = 0; i < 60; i += 1) await emitLimited(trx, event(i), 60);
    });
    const email = fresh();
    expect((await register(email)).status).toBe(201);
    await inTransaction(harness.database.db, (trx) => emitLimited(trx, event(61), 60));
    expect((await events()).slice(60)).toEqual([
      { kind: 'security.more', payload: { event: 'user.registered', per_hour: 60 } },
    ]);
    expect(await idOf(email)).toEqual(expect.any(String));
  });
});

describe('security.*', () => {
  test('each of these events of the audit is reported, with ids and words; the others are not', async () => {
    const { db } = harness.database;
    const user = await makeUser(harness);
    const other = await makeUser(harness, { emailVerified: false });
    // Sign-ins, good and bad, say nothing.
    await post(harness, 'login', { email: user.email, password: 'wrong' });
    await post(harness, 'login', { email: user.email, password: PASSWORD });
    expect(await events()).toEqual([]);

    for (let i = 0; i < 14; i += 1) await post(harness, 'login', { email: user.email, password: '' });
    const { refreshToken } = await openedSession(harness, user.id);
    await refresh(harness, refreshToken);
    await rows(`update sessions set "rotatedAt" = "rotatedAt" - interval '1 hour' where "userId" = ?`, [user.id]);
    expect((await refresh(harness, refreshToken)).status).toBe(401);
    expect((await harness.get('/api/admin/emails', { headers: bearer(user.token) })).status).toBe(403);
    const { token } = await inTransaction(db, (trx) => issueToken(trx, other.id, 'account_denial'));
    expect(await denyAccount(harness.deps, { userId: other.id, token })).toBe('secured');
    const by = { actor: { type: 'user', id: admin.id } } as const;
    for (let i = 0; i < 2; i += 1) {
      await setRoles(db, user.id, { set: ['PARTNER', 'SPONSOR'] }, by);
      await setActive(db, user.id, false, OPERATOR);
    }
    await setActive(db, user.id, true, by);
    await harness.deps.settings.save({ crowdin_personal_token: 'marker-rotated' }, { enteredBy: 'user' });
    const keys = { key: randomKey(), previousKey: new Secret(ENCRYPTION_KEY) };
    expect((await rotateKeys({ db, keys }, OPERATOR, { force: true })).changed).toBe(true);
    await rows('delete from config');

    const of = (name: string, account: string, actor: string, details: object = {}) => ({
      kind: `security.${name}`,
      payload: { account, actor, ...details },
    });
    const reported = await events();
    expect(reported.slice(0, -1)).toEqual([
      of('lockout', user.id, 'anonymous', { limit: 'login' }),
      of('token_reuse', user.id, 'anonymous'),
      of('role_refused', user.id, user.id, { operation: 'listEmails' }),
      of('account_denied', other.id, 'anonymous', { denial: 'secured' }),
      of('roles_changed', user.id, admin.id, { before: ['MEMBER'], after: ['PARTNER', 'SPONSOR'] }),
      of('account_disabled', user.id, 'operator'),
      of('account_enabled', user.id, admin.id),
    ]);
    expect(reported.at(-1)).toEqual({
      kind: 'security.keys_rotated',
      payload: {
        account: null,
        actor: 'operator',
        key_id: expect.any(String),
        previous_key_id: expect.any(String),
        rotated: expect.arrayContaining([expect.stringMatching(/^config\S* 1$/)]),
      },
    });
    expect(JSON.stringify(reported)).not.toMatch(/marker-|@/);
  });

  test('a change and its report are kept together or not at all; a refusal is answered all the same', async () => {
    const user = await makeUser(harness);
    await refuse('security.roles_changed');
    await refuse('security.role_refused');
    await expect(setRoles(harness.database.db, user.id, { set: ['PARTNER'] }, OPERATOR)).rejects.toThrow();
    expect(await rows('select u.roles from users u where u.id = ?', [user.id])).toEqual([{ roles: ['MEMBER'] }]);
    expect((await harness.get('/api/admin/emails', { headers: bearer(user.token) })).status).toBe(403);
    expect([await audited('roles-changed', user.id), await audited('role-refused', user.id)]).toEqual([[], []]);
    expect(await events()).toEqual([]);
    await rows('delete from refused_kinds');
    expect((await harness.get('/api/admin/emails', { headers: bearer(user.token) })).status).toBe(403);
    expect([(await audited('role-refused', user.id)).length, (await events()).length]).toEqual([1, 1]);
  });

  test('of a flood, 20 of a name are reported and then once that there are more; the audit has all', async () => {
    const ids = Array.from({ length: 30 }, () => randomUUID());
    const origin = { networkDigest: 'one-network' };
    const flood = (action: 'lockout' | 'role-refused') =>
      Promise.all(
        ids.map((id) => recordRefusal(harness.deps, accountEvent(action, id, { outcome: 'refused', origin }))),
      );
    await flood('role-refused');
    await flood('lockout');
    const counts = (await events()).reduce<Record<string, number>>((all, { kind, payload }) => {
      const name = kind === 'security.more' ? `${kind} ${payload['event']} ${payload['per_hour']}` : kind;
      return Object.assign(all, { [name]: (all[name] ?? 0) + 1 });
    }, {});
    expect(counts).toEqual({
      'security.role_refused': 20,
      'security.more security.role_refused 20': 1,
      'security.lockout': 20,
      'security.more security.lockout 20': 1,
    });
    const kept = await rows('select a.id from audit_events a where a.target_id = any(?::text[])', [ids]);
    expect(kept).toHaveLength(60);
  });
});

describe('settings.updated', () => {
  const send = (path: string, body: object, method = 'POST') =>
    harness.get(`/api/admin/${path}`, { ...json(body, bearer(admin.token)), method });
  const reported = async () => {
    const found = await events();
    await rows('delete from outbox');
    expect(new Set(found.map(({ kind }) => kind))).toEqual(new Set(found.length === 0 ? [] : ['settings.updated']));
    return found.map(({ payload }) => payload);
  };
  const by = 'root';

  test('one event per save, with what really changed; of secrets and addresses only that they did', async () => {
    const body = {
      siteName: 'Über 🚀',
      resendApiKey: 'marker-resend',
      adminEmail: 'marker-admin@example.com',
      cacheTimeout: 90,
      siteUrl: 'https://site.example',
      faviconUrl: 'https://site.example/f.ico?marker-query=1',
      githubRepositories: ['ours/one', 'ours/two'],
    };
    expect((await send('settings', body)).status).toBe(200);
    const [first, ...others] = await reported();
    expect(others).toEqual([]);
    expect(first?.['by']).toBe(by);
    const changes = (first?.['changes'] ?? []) as { key: string }[];
    expect(changes.toSorted((a, b) => (a.key < b.key ? -1 : 1))).toEqual([
      { key: 'adminEmail', before: '', after: '(updated)' },
      { key: 'cacheTimeout', before: '60', after: '90' },
      { key: 'faviconUrl', before: '', after: 'https://site.example/f.ico' },
      { key: 'githubRepositories', before: '', after: '2 +ours/one +ours/two' },
      { key: 'resendApiKey', before: '', after: '(updated)' },
      { key: 'siteName', before: expect.any(String), after: 'Über 🚀' },
      { key: 'siteUrl', before: 'https://nodebyte.host', after: 'https://site.example' },
    ]);
    expect(JSON.stringify(first)).not.toContain('marker-');
    // Saved as it is: nothing changes, and nothing is said.
    expect((await send('settings', body)).status).toBe(200);
    expect(await reported()).toEqual([]);

    expect((await send('settings', { resendApiKey: 'marker-other' })).status).toBe(200);
    expect((await send('settings', { keys: ['resendApiKey', 'githubToken'] }, 'PUT')).status).toBe(200);
    expect((await send('settings', { keys: ['resendApiKey'] }, 'PUT')).status).toBe(200);
    expect((await send('settings/repos', { oldRepo: 'ours/two', repo: 'ours/four' }, 'PUT')).status).toBe(200);
    expect((await send('sync/settings', { autoSyncInterval: 7_200 })).status).toBe(200);
    const change = (key: string, before: string, after: string) => ({ by, changes: [{ key, before, after }] });
    expect(await reported()).toEqual([
      change('resendApiKey', '(set)', '(updated)'),
      change('resendApiKey', '(set)', ''),
      change('githubRepositories', '2', '2 +ours/four -ours/two'),
      change('syncInterval', '3600', '7200'),
    ]);
  });

  test('names who has changed it by username, first name or id, and callers without an account by a word', async () => {
    const user = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
    const change = (actor: Parameters<typeof changeSettings>[2]['by']['actor'], name: string) =>
      changeSettings(
        harness.deps,
        { site_name: name },
        { editor: { kind: 'user', isSystemAdministrator: true }, by: { actor } },
      );
    const columns = async (username: string | null, firstName: string | null) =>
      rows(`update users set username = ?, "firstName" = ? where id = ?`, [username, firstName, user.id]);
    await columns('ada', 'Ada');
    await change({ type: 'user', id: user.id }, 'a');
    await columns(' ', 'Ada');
    await change({ type: 'user', id: user.id }, 'b');
    await columns(null, null);
    await change({ type: 'user', id: user.id }, 'c');
    await change({ type: 'user', id: 'gone' }, 'd');
    await change({ type: 'apiKey' }, 'e');
    await change({ type: 'cli' }, 'f');
    await change({ type: 'anonymous' }, 'g');
    const names = (await reported()).map((payload) => payload['by']);
    expect(names).toEqual(['ada', 'Ada', user.id, 'gone', 'API', 'operator', 'the set-up']);
  });

  test('the change and its event are kept together or not at all; a value that is cut stays a text', async () => {
    await refuse('settings.updated');
    expect((await send('settings', { siteName: 'never' })).status).toBe(500);
    expect(await rows(`select c.key from config c where c.value = 'never'`)).toEqual([]);
    await rows('delete from refused_kinds');
    const name = `${'x'.repeat(199)}🚀`;
    const answer = await send('settings', { siteName: name });
    if (answer.status === 200) expect(JSON.stringify(await reported())).toContain(`${'x'.repeat(199)}\uFFFD`);
    else expect(answer.status).toBe(400);
  });
});
