/**
 * Which addresses a URL that somebody typed may reach. Names are judged after resolution, by the very lookup the socket
 * connects with, so a name cannot answer one address to the check and another to the connection.
 */
import type { LookupAddress, LookupOptions } from 'node:dns';
import { lookup as resolveName } from 'node:dns/promises';
import { BlockList, isIP, isIPv4, type LookupFunction } from 'node:net';
import { AppError } from '../../domain/errors.ts';

/**
 * `public`: only what the public internet routes. `private`: also the operator's own networks and this machine, for
 * people who may configure them; never link-local, multicast, unspecified, broadcast or a cloud's metadata service.
 */
export type AddressPolicy = 'public' | 'private';

/** Finds all addresses of a name. */
export type Resolver = (hostname: string, options: LookupOptions & { all: true }) => Promise<LookupAddress[]>;

export interface AddressGuardOptions {
  policy: AddressPolicy;
  /** `public` with this machine let through, for development. */
  loopback?: boolean;
  /** Default: the operating system's. */
  resolve?: Resolver;
}

export interface AddressGuard {
  /**
   * Judges a host that is an address already, which no socket looks up; names pass.
   * @param hostname as in `URL.hostname`: IPv6 in brackets, other spellings of IPv4 brought to dots.
   * @throws {AppError} ADDRESS_REFUSED
   */
  checkHost(hostname: string): void;
  /** For `net.connect`, `tls.connect` and undici's connector; fails with ADDRESS_REFUSED if any address is refused. */
  lookup: LookupFunction;
}

const list = (subnets: readonly string[]): BlockList => {
  const blocked = new BlockList();
  for (const subnet of subnets) {
    const [network = '', prefix] = subnet.split('/');
    blocked.addSubnet(network, Number(prefix), isIPv4(network) ? 'ipv4' : 'ipv6');
  }
  return blocked;
};

/** Link-local, multicast, unspecified ("this network"), broadcast: RFC 1122, 3927, 4291, 5771. */
const NEVER = list([
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
]);

/** The IANA registry of special-purpose IPv4 addresses, as far as it is not globally reachable. */
const NOT_PUBLIC_V4 = list([
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
]);
/** All of IPv6 that is allocated for global use (RFC 4291): what lies outside is not public. */
const GLOBAL_V6 = list(['2000::/3']);
/** Special purposes inside it: protocol assignments with Teredo, documentation, segment routing. */
const NOT_PUBLIC_V6 = list(['2001::/23', '2001:db8::/32', '3fff::/20']);
const LOOPBACK = list(['127.0.0.0/8', '::1/128']);

/** Blocks that carry an IPv4 address, and the group of 16 bits where it begins. */
const EMBEDDED_V4: readonly { block: BlockList; at: number }[] = [
  // compatible and mapped (RFC 4291), translated (RFC 2765), NAT64 (RFC 6052)
  { block: list(['::/96', '::ffff:0:0/96', '::ffff:0:0:0/96', '64:ff9b::/96']), at: 6 },
  // 6to4 (RFC 3056)
  { block: list(['2002::/16']), at: 1 },
];

/** In the block of compatible addresses, but no IPv4. */
const UNSPECIFIED_OR_LOOPBACK = list(['::/127']);

/** The eight groups of an IPv6 address in any spelling. */
function groupsOf(address: string): number[] {
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const numbers = (part: string | undefined): number[] =>
    part === undefined || part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const left = numbers(head);
  const right = numbers(tail);
  return [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
}

function embeddedV4(address: string): string | undefined {
  if (UNSPECIFIED_OR_LOOPBACK.check(address, 'ipv6')) return undefined;
  const at = EMBEDDED_V4.find(({ block }) => block.check(address, 'ipv6'))?.at;
  if (at === undefined) return undefined;
  const [high = 0, low = 0] = groupsOf(address).slice(at);
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

/** Whether the policy lets an address through; IPv6 that carries an IPv4 address counts as that address. */
export function mayReach(address: string, options: Pick<AddressGuardOptions, 'policy' | 'loopback'>): boolean {
  const [bare = ''] = address.split('%', 1);
  const version = isIP(bare);
  if (version === 0) return false;
  if (version === 6) {
    const inner = embeddedV4(bare);
    if (inner !== undefined) return mayReach(inner, options);
  }
  const family = version === 4 ? 'ipv4' : 'ipv6';
  if (NEVER.check(bare, family)) return false;
  if (options.policy === 'private') return true;
  if (LOOPBACK.check(bare, family)) return options.loopback === true;
  return version === 4
    ? !NOT_PUBLIC_V4.check(bare, family)
    : GLOBAL_V6.check(bare, family) && !NOT_PUBLIC_V6.check(bare, family);
}

/** Makes the guard of one policy. It holds nothing and may serve any number of connections. */
export function createAddressGuard(options: AddressGuardOptions): AddressGuard {
  const resolve: Resolver = options.resolve ?? resolveName;
  const refuse = (host: string): AppError => new AppError('ADDRESS_REFUSED', { meta: { host } });

  async function checked(hostname: string, wanted: LookupOptions): Promise<LookupAddress[]> {
    const found = await resolve(hostname, { ...wanted, all: true });
    // One bad address spoils the name: the socket would come to it when the others do not answer.
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
