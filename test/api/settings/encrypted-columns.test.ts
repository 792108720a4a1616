/** After writes through every writer of secrets, no column holds an encrypted value but those of the table, and none a secret in clear. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Secret } from '../../../src/domain/secret.ts';
import { SENSITIVE_SETTINGS } from '../../../src/domain/settings.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { startAttempt } from '../../../src/services/email/start-attempt.ts';
import { changeSettings } from '../../../src/services/settings/change-settings.ts';
import { ENCRYPTED_TABLE_NAMES } from '../../../src/store/db/encrypted-columns.ts';
import { columnsOf } from '../../../src/store/db/encrypted-rows.ts';
import { query } from '../../../src/store/db/query.ts';
import {
  API_KEY,
  bearer,
  ENCRYPTION_KEY,
  type Harness,
  json,
  makeUser,
  PASSWORD,
  startHarness,
} from '../../support/api/harness.ts';
import { decryptByHand } from '../../support/encrypted.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());

interface Cell {
  /** Table and column. */
  place: string;
  text: string;
}

/** Every value of every column that can hold a text, of every table. */
async function everyText(): Promise<Cell[]> {
  const { db } = harness.database;
  const columns = await query<{ table: string; column: string }>(
    db,
    `select c.table_name as "table", c.column_name as "column"
       from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
      where c.table_schema = 'public' and t.table_type = 'BASE TABLE'
        and (c.data_type in ('text', 'character varying', 'character', 'json', 'jsonb', 'ARRAY', 'bytea'))`,
  );
  const cells: Cell[] = [];
  for (const { table, column } of columns) {
    const rows = await query<{ text: string }>(db, 'select ??::text as text from ?? where ?? is not null', [
      column,
      table,
      column,
    ]);
    cells.push(...rows.map(({ text }) => ({ place: `${table}.${column}`, text })));
  }
  return cells;
}

/** Parts of a text that can be encrypted values: base64 of at least nonce and tag. */
const candidates = (text: string): string[] => text.match(/[A-Za-z0-9+/]{38,}={0,2}/g) ?? [];
const key = new Secret(ENCRYPTION_KEY);
const isEncrypted = ({ text }: Cell): boolean =>
  candidates(text).some((candidate) => decryptByHand(key, candidate) !== undefined);

const settingOf = (name: string): string => `secret-of-${name}-0123456789`;

/** Writes through every writer of secrets. @returns the secrets. */
async function writeEverything(): Promise<string[]> {
  const { emails, db } = harness.deps;
  const urls = { pterodactyl_url: 'https://panel.example', virtfusion_url: 'https://vf.example' };
  const values = Object.fromEntries(SENSITIVE_SETTINGS.map((name) => [name, settingOf(name)]));
  const changed = await changeSettings(
    harness.deps,
    { ...urls, ...values },
    {
      editor: { kind: 'user', isSystemAdministrator: true },
      by: OPERATOR,
    },
  );
  expect(changed).toHaveLength(SENSITIVE_SETTINGS.length + 2);
  const { email } = await makeUser(harness, { isSystemAdmin: true });
  const login = await harness.get('/api/v1/auth/login', json({ email, password: PASSWORD }));
  const { accessToken, refreshToken } = await login.json();
  const change = json({ currentPassword: PASSWORD, newPassword: 'Another-horse-8' }, bearer(accessToken));
  const answer = await harness.get('/api/v1/dashboard/account/password', { ...change, method: 'PUT' });
  expect(answer.status).toBe(200);
  await harness.get('/api/v1/auth/forgot-password', json({ email }));
  const hook = 'https://discord.com/api/webhooks/1/';
  const webhook = json({ name: 'Alerts', webhookUrl: `${hook}secret-of-a-webhook-that-changes` }, bearer(accessToken));
  const created = await harness.get('/api/admin/settings/webhooks', webhook);
  const { id } = (await created.json()).webhook;
  const changes = json({ webhookUrl: `${hook}secret-of-a-webhook-0123456789` }, bearer(accessToken));
  await harness.get(`/api/admin/settings/webhooks/${id}`, { ...changes, method: 'PUT' });
  const queued = { to: email, subject: 'S', template: 'message', data: { message: 'secret-of-an-email' } };
  expect((await harness.get('/api/v1/email/queue', json(queued, { 'X-API-Key': API_KEY }))).status).toBe(202);
  // The first attempt of each email stores its token, and what it is about to send.
  const tokens: string[] = [];
  for (const { id } of await query<{ id: string }>(db, 'select e.id from emails e')) {
    const attempt = await startAttempt({ db, emails }, id, 0);
    if (attempt.state !== 'ready') continue;
    const { token } = attempt.data;
    if (token !== undefined) tokens.push(token);
    const text = `${attempt.data['message'] ?? ''} ${token ?? ''}`;
    await emails.beginSending(db, id, {
      from: { name: 'A', address: 'a@example.com' },
      to: email,
      subject: 'S',
      html: text,
      text,
    });
  }
  expect(tokens).toHaveLength(1);
  return [
    ...SENSITIVE_SETTINGS.map(settingOf),
    PASSWORD,
    'Another-horse-8',
    accessToken,
    refreshToken,
    ...tokens,
    'secret-of-an-email',
    'secret-of-a-webhook',
  ];
}

test('every encrypted value stands in a column of the table, and no secret stands anywhere in clear', async () => {
  const secrets = await writeEverything();
  const cells = await everyText();
  const known: readonly string[] = ENCRYPTED_TABLE_NAMES.flatMap(columnsOf);
  const encrypted = [...new Set(cells.filter(isEncrypted).map(({ place }) => place))].sort();
  // Hytale tokens have no writer here yet.
  expect(encrypted).toEqual(known.filter((column) => !column.startsWith('hytale_')).sort());
  for (const secret of secrets) {
    expect(
      cells.filter(({ text }) => text.includes(secret)).map(({ place }) => place),
      'in clear',
    ).toEqual([]);
    expect(harness.logged().includes(secret)).toBe(false);
  }
  // The scan sees a value wherever it stands, in JSON too.
  const [value] = cells.filter(({ place }) => place === 'config.value').filter(isEncrypted);
  expect(isEncrypted({ place: 'outbox.payload', text: `{"a": ["x", "${value?.text}"]}` })).toBe(true);
});
