/**
 * Which addresses a configured URL may reach. A name is checked after resolution, in the same lookup that the socket
 * uses, so a name cannot resolve to one address for the check and to another one for the connection.
 */
import type { LookupAddress, LookupOptions } from 'node:dns';
import { lookup as resolveName } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import { AppError } from '../../domain/errors.ts';

/**
 * `public`: only addresses that the public internet routes. `private`: also the operator's own networks and this
 * machine, for URLs that an administrator configures. Neither allows link-local, multicast, unspecified and broadcast
 * addresses and the metadata services of clouds.
 */
export type AddressPolicy = 'public' | 'private';

/** Finds all addresses of a name. */
export type Resolver = (hostname: string, options: LookupOptions & { all: true }) => Promise<LookupAddress[]>;

export interface AddressGuardOptions {
  policy: AddressPolicy;
  /** With `public`: this machine is allowed too, for development. */
  loopback?: boolean;
  /** Default: the resolver of the operating system. */
  resolve?: Resolver;
}

export interface AddressGuard {
  /**
   * Checks a host that is an address, because no socket looks it up; names pass.
   * @param hostname as in `URL.hostname`: IPv6 in brackets, IPv4 in the form with four decimal parts.
   * @throws {AppError} ADDRESS_REFUSED
   */
  checkHost(hostname: string): void;
  /** For `net.connect`, `tls.connect` and undici's connector; fails with ADDRESS_REFUSED if one address is refused. */
  lookup: LookupFunction;
}

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Network = [Address, prefixLength: number];

const networks = (...texts: string[]): Network[] => texts.map((text) => ipaddr.parseCIDR(text));

const isIn = (address: Address, list: readonly Network[]): boolean =>
  list.some((network) => network[0].kind() === address.kind() && address.match(network));

/** Link-local, multicast, unspecified ("this network"), broadcast: RFC 1122, 3927, 4291, 5771. */
const NEVER = networks(
  '0.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '255.255.255.255/32',
  '::/128',
  'fe80::/10',
  'ff00::/8',
  // metadata services outside 169.254/16: AWS, Google Cloud, Alibaba Cloud, Azure, Oracle Cloud
  'fd00:ec2::254/128',
  'fd20:ce::254/128',
  '100.100.100.200/32',
  '168.63.129.16/32',
  '192.0.0.192/32',
);

/** The IANA registry of special-purpose IPv4 addresses, as far as they are not globally reachable. */
const NOT_PUBLIC_V4 = networks(
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '240.0.0.0/4',
);
/** All of IPv6 that is allocated for global use (RFC 4291): an address outside it is not public. */
const GLOBAL_V6 = networks('2000::/3');
/** Special purposes inside it: protocol assignments with Teredo, documentation, segment routing. */
const NOT_PUBLIC_V6 = networks('2001::/23', '2001:db8::/32', '3fff::/20');
const LOOPBACK = networks('127.0.0.0/8', '::1/128');

/** Networks whose addresses contain an IPv4 address, and the byte at which it begins. */
const EMBEDDED_V4: readonly { networks: readonly Network[]; at: number }[] = [
  // compatible and mapped (RFC 4291), translated (RFC 2765), NAT64 (RFC 6052)
  { networks: networks('::/96', '::ffff:0:0/96', '::ffff:0:0:0/96', '64:ff9b::/96'), at: 12 },
  // 6to4 (RFC 3056)
  { networks: networks('2002::/16'), at: 2 },
];

/** In the network of compatible addresses, but without an IPv4 address. */
const UNSPECIFIED_OR_LOOPBACK = networks('::/127');

/** The IPv4 address that an IPv6 address contains; other addresses as they are. */
function withoutEnvelope(address: Address): Address {
  if (isIn(address, UNSPECIFIED_OR_LOOPBACK)) return address;
  const at = EMBEDDED_V4.find((block) => isIn(address, block.networks))?.at;
  return at === undefined ? address : ipaddr.fromByteArray(address.toByteArray().slice(at, at + 4));
}

/** Whether the policy allows an address; an IPv6 address that contains an IPv4 address counts as that address. */
export function mayReach(address: string, options: Pick<AddressGuardOptions, 'policy' | 'loopback'>): boolean {
  const [bare = ''] = address.split('%', 1);
  // isIP is strict; ipaddr.js alone would also accept octal and shortened IPv4 forms.
  if (isIP(bare) === 0 || !ipaddr.isValid(bare)) return false;
  const target = withoutEnvelope(ipaddr.parse(bare));
  if (isIn(target, NEVER)) return false;
  if (options.policy === 'private') return true;
  if (isIn(target, LOOPBACK)) return options.loopback === true;
  return target.kind() === 'ipv4'
    ? !isIn(target, NOT_PUBLIC_V4)
    : isIn(target, GLOBAL_V6) && !isIn(target, NOT_PUBLIC_V6);
}

/**
 * The guard for the URL of an upstream. The origin of the environment's URL is the operator's choice: it is not judged.
 * @param options default: those of a stored URL. System administrators store URLs, so their own networks are allowed.
 */
export function guardFor(
  url: string,
  environmentUrl: string | undefined,
  options: AddressGuardOptions = { policy: 'private' },
): AddressGuard | 'environment' {
  const known = environmentUrl !== undefined && URL.canParse(environmentUrl) && URL.canParse(url);
  if (known && new URL(url).origin === new URL(environmentUrl).origin) return 'environment';
  return createAddressGuard(options);
}

/** Creates the guard of one policy. It has no state and can serve any number of connections. */
export function createAddressGuard(options: AddressGuardOptions): AddressGuard {
  const resolve: Resolver = options.resolve ?? resolveName;
  const refuse = (host: string): AppError => new AppError('ADDRESS_REFUSED', { meta: { host } });

  async function checked(hostname: string, wanted: LookupOptions): Promise<LookupAddress[]> {
    const found = await resolve(hostname, { ...wanted, all: true });
    // One refused address is enough: the socket would try it when the others do not answer.
    if (found.length === 0 || found.some(({ address }) => !mayReach(address, options))) throw refuse(hostname);
    return found;
  }

  return {
    checkHost(hostname) {
      const host = hostname.replace(/^\[(.*)\]$/, '$1');
      if (isIP(host) !== 0 && !mayReach(host, options)) throw refuse(hostname);
    },
    lookup(hostname, wanted, callback) {
      checked(hostname, wanted).then(
        (found) => {
          const [first] = found;
          if (wanted.all === true || first === undefined) callback(null, found);
          else callback(null, first.address, first.family);
        },
        (error: NodeJS.ErrnoException) => callback(error, []),
      );
    },
  };
}
