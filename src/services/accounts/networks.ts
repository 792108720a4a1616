/**
 * Where a request comes from, and the networks that an account is known from. A network is a /24 of IPv4 or a /48 of
 * IPv6: as near as an address can tell one home or one provider's town from another.
 */
import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { AuditEvent } from '../../domain/audit.ts';
import type { Secret } from '../../domain/secret.ts';
import {
  forgetDigests,
  isKnownDigest,
  type NetworkStanding,
  recordSignInWith,
  rememberDigest,
} from '../../store/accounts/network-store.ts';
import type { Db, Transaction } from '../../store/db/db.ts';

/** Where a request comes from, which routes pass to the services. */
export interface RequestOrigin {
  /** The client's address; an IPv4-mapped one as IPv4. */
  address: string;
  /** Its network, as {@link networkOf} writes it: what may be shown to the owner of an account. */
  network: string;
  /** Keyed digest of the network: all that is stored. */
  networkDigest: string;
  /** Id of the request, also in the log and the answer. */
  requestId?: string | undefined;
}

/** The IPv6 network of this many bits around an address; an IPv4 address, or another text, stays as it is. */
export const networkAround = (address: string, bits: number): string => around(address, { ipv4: 32, ipv6: bits });

/** The network around an address with this many bits for its family; a whole address is written without them. */
function around(address: string, bits: { ipv4: number; ipv6: number }): string {
  // A link-local address may name its interface.
  const [bare = ''] = address.split('%', 1);
  // isIP is strict; ipaddr.js alone would also accept octal and shortened IPv4 forms.
  if (isIP(bare) === 0) return bare;
  const parsed = ipaddr.process(bare);
  if (!(parsed instanceof ipaddr.IPv4)) {
    return `${ipaddr.IPv6.networkAddressFromCIDR(`${parsed}/${bits.ipv6}`)}/${bits.ipv6}`;
  }
  if (bits.ipv4 === 32) return parsed.toString();
  return `${ipaddr.IPv4.networkAddressFromCIDR(`${parsed}/${bits.ipv4}`)}/${bits.ipv4}`;
}

/** `192.0.2.0/24` or `2001:db8:1::/48`: the network of an address. */
export const networkOf = (address: string): string => around(address, { ipv4: 24, ipv6: 48 });

/** Makes the origin of a request out of the client's address. */
export type ReadOrigin = (address: string, requestId?: string) => RequestOrigin;

/**
 * The key of the digests is derived from the secret that signs tokens, so it is the same in all copies and after a
 * restart. A new secret makes every network unknown once; the old rows lapse.
 */
export function createOriginReader(secret: Secret | undefined): ReadOrigin {
  const material = secret?.reveal() ?? randomBytes(32);
  const key = new Uint8Array(hkdfSync('sha256', material, '', 'nodebyte account networks', 32));
  return (given, requestId) => {
    const address = around(given, { ipv4: 32, ipv6: 128 }).replace('/128', '');
    const network = networkOf(address);
    let digest: string | undefined;
    return {
      address,
      network,
      requestId,
      // Few requests need it, and it costs more than the rest.
      get networkDigest() {
        digest ??= createHmac('sha256', key).update(network).digest('base64url').slice(0, 22);
        return digest;
      },
    };
  };
}

/** Records a sign-in: its time, its event and its network. @returns how the account knew the network before. */
export const recordSignInFrom = (
  trx: Transaction,
  userId: string,
  event: AuditEvent,
  origin: RequestOrigin,
): Promise<NetworkStanding> => recordSignInWith(trx, userId, event, origin.networkDigest);

/** Remembers the network of somebody who proved to own the account without signing in. The caller holds the user's lock. */
export const rememberNetwork = (trx: Transaction, userId: string, origin: RequestOrigin): Promise<NetworkStanding> =>
  rememberDigest(trx, userId, origin.networkDigest);

/** Whether an account of this address, as accounts are looked up, was signed in to from the network. */
export const isKnownNetwork = (db: Db, email: string, origin: RequestOrigin): Promise<boolean> =>
  isKnownDigest(db, email, origin.networkDigest);

/** Forgets all networks of an account: they may be another person's. */
export const forgetNetworks = (trx: Transaction, userId: string): Promise<void> => forgetDigests(trx, userId);
