/** What people do in tests of Hytale, and what the database says afterwards. */
import { expect } from 'vitest';
import type { HytaleSimulator, SimulatedAccount } from '../../../simulators/hytale/contract.ts';
import { query } from '../merge.ts';
import { type HytaleHarness, WHO } from './harness.ts';

/** @param life is read at each call: it starts after the tests are declared. */
export function createPeople(life: () => HytaleHarness) {
  const accountRow = async (id: string) =>
    (await query(life().db, 'select * from hytale_oauth_tokens where account_id = ?', [id]))[0];
  const sessionRow = async (id: string) =>
    (await query(life().db, 'select * from hytale_game_sessions where id = ?', [id]))[0];
  const events = async (kind: string) =>
    (await query(life().db, 'select payload from outbox where kind = ?', [kind])).map(({ payload }) => payload);
  const audit = async (accountId: string): Promise<string[]> =>
    (
      await query(life().db, 'select event_type from hytale_audit_logs where account_id = ? order by created_at, id', [
        accountId,
      ])
    ).map((row) => String(row['event_type']));

  /** A person signs an account in. @returns the login. */
  async function signIn(sim: HytaleSimulator, account: SimulatedAccount) {
    const login = await life().hytale.startLogin(account.id, WHO);
    sim.approve(login.userCode, account.id);
    await life().until('the login ends', async () => (await life().hytale.login(login.loginId)).status === 'completed');
    return login;
  }
  /** No refresh token was exchanged twice, and none was presented after it had been spent. */
  function expectNoTokenSpentTwice(sim: HytaleSimulator): void {
    for (const { spent, reused } of sim.refreshTokens())
      expect({ spent: spent <= 1, reused }).toEqual({ spent: true, reused: 0 });
  }
  return { accountRow, sessionRow, events, audit, signIn, expectNoTokenSpentTwice };
}
