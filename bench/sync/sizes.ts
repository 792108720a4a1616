/** The panels that the benchmark of the sync reads: rows per entity. */
const L = {
  locations: 5,
  nodes: 100,
  allocations: 100_000,
  nests: 8,
  eggs: 80,
  users: 50_000,
  servers: 20_000,
  databases: 8_000,
  subusers: 12_000,
};

const SIZES: Readonly<Record<string, Readonly<Record<keyof typeof L, number>>>> = {
  S: {
    locations: 2,
    nodes: 5,
    allocations: 1_000,
    nests: 3,
    eggs: 15,
    users: 500,
    servers: 500,
    databases: 200,
    subusers: 300,
  },
  M: {
    locations: 3,
    nodes: 20,
    allocations: 10_000,
    nests: 5,
    eggs: 40,
    users: 5_000,
    servers: 5_000,
    databases: 2_000,
    subusers: 3_000,
  },
  L,
  /** Ten times L. Games do not become more. */
  '10L': {
    ...L,
    locations: 50,
    nodes: 1_000,
    allocations: 1_000_000,
    users: 500_000,
    servers: 200_000,
    databases: 80_000,
    subusers: 120_000,
  },
};

/** @throws {Error} for a name that no size has. */
export function sizeOf(name: string): Readonly<Record<string, number>> {
  const size = SIZES[name];
  if (size === undefined) throw new Error(`unknown size ${name}: one of ${Object.keys(SIZES).join(', ')}`);
  return size;
}
