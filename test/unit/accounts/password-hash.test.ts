/** The queue before bcrypt: two hashes at a time, 100 requests waiting, 50 of one network, the next one refused; networks take turns. */
import realBcrypt from 'bcrypt';
import { afterAll, expect, test, vi } from 'vitest';
import { hashPassword } from '../../../src/services/accounts/password-hash.ts';

const bcrypt = { running: 0, peak: 0, finish: [] as (() => void)[] };
// A spy, not a mock of the module: other files of this process have loaded it already.
const hash = vi.spyOn(realBcrypt, 'hash').mockImplementation(async () => {
  bcrypt.running += 1;
  bcrypt.peak = Math.max(bcrypt.peak, bcrypt.running);
  await new Promise<void>((resolve) => bcrypt.finish.push(resolve));
  bcrypt.running -= 1;
  return 'a hash';
});
afterAll(() => hash.mockRestore());

test('two hashes run, 100 requests wait, the next is refused; all that waited are served', async () => {
  const accepted = Array.from({ length: 102 }, () => hashPassword('password'));
  await expect(hashPassword('password')).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE', retryAfterMs: 5000 });
  for (let done = 0; done < accepted.length; done += 1) {
    await vi.waitUntil(() => bcrypt.finish.length > 0, { interval: 1 });
    bcrypt.finish.shift()?.();
  }
  expect(await Promise.all(accepted)).toHaveLength(102);
  expect(bcrypt.peak).toBe(2);
  const later = hashPassword('password');
  await vi.waitUntil(() => bcrypt.finish.length > 0, { interval: 1 });
  bcrypt.finish.shift()?.();
  expect(await later).toBe('a hash');
});

test('one network gets half of the places, and others need not wait for all of them (S7)', async () => {
  const finishAll = async (count: number) => {
    for (let done = 0; done < count; done += 1) {
      await vi.waitUntil(() => bcrypt.finish.length > 0, { interval: 1 });
      bcrypt.finish.shift()?.();
    }
  };
  // 72 /64s of one /48 come as one network.
  const home = Array.from({ length: 72 }, () => hashPassword('password', '2001:db8:1::/48'));
  const settled = Promise.allSettled(home);
  const other = hashPassword('password', '192.0.2.0/24');
  await finishAll(5);
  expect(await other).toBe('a hash');
  await finishAll(46);
  const outcomes = await settled;
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(50);
  const again = hashPassword('password', '2001:db8:1::/48');
  await finishAll(1);
  expect(await again).toBe('a hash');
});
