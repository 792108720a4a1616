/** Origins of requests: which network an address belongs to, and its keyed digest. */
import { expect, test } from 'vitest';
import { Secret } from '../../../src/domain/secret.ts';
import { createOriginReader, networkOf } from '../../../src/services/accounts/networks.ts';

test('a network is a /24 of IPv4 or a /48 of IPv6', () => {
  expect(networkOf('192.0.2.77')).toBe('192.0.2.0/24');
  expect(networkOf('::ffff:192.0.2.77')).toBe('192.0.2.0/24');
  expect(networkOf('2001:db8:1:ff00::7')).toBe('2001:db8:1::/48');
  expect(networkOf('2001:DB8:1:1:2:3:4:5')).toBe('2001:db8:1::/48');
  expect(networkOf('fe80::1%eth0')).toBe('fe80::/48');
  // The socket was closed before its address was read.
  expect(networkOf('')).toBe('');
});

test('the digest is the same in every copy with the same secret, and hides the network from a reader without it', () => {
  const read = createOriginReader(new Secret('a'.repeat(40)));
  const copy = createOriginReader(new Secret('a'.repeat(40)));
  const other = createOriginReader(new Secret('b'.repeat(40)));
  const origin = read('::ffff:192.0.2.77');
  expect(origin).toEqual({
    address: '192.0.2.77',
    network: '192.0.2.0/24',
    networkDigest: expect.stringMatching(/^[\w-]{22}$/),
  });
  expect(copy('192.0.2.1').networkDigest).toBe(origin.networkDigest);
  expect(read('192.0.3.77').networkDigest).not.toBe(origin.networkDigest);
  expect(other('192.0.2.77').networkDigest).not.toBe(origin.networkDigest);
});
