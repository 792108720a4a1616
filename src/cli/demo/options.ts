/** Options of `demo`. */
import type { Command } from 'commander';
import { wholeNumber } from '../support/options.ts';

/** Sizes of the simulated panel: those of a company with some thousand customers. */
const SIZES = {
  locations: 3,
  nodes: 20,
  allocations: 10_000,
  nests: 5,
  eggs: 40,
  users: 5_000,
  servers: 5_000,
  databases: 2_000,
  subusers: 3_000,
} as const;
type SizeName = keyof typeof SIZES;
const SIZE_NAMES = Object.keys(SIZES) as readonly SizeName[];

const amount = wholeNumber(0, 9_999_999);

export interface DemoFlags extends Partial<Record<SizeName, number>> {
  once?: boolean;
  port?: number;
  /** Milliseconds. */
  latency: number;
  /** Requests per minute; 0 = no limit. */
  limit: number;
}

/** Adds the options of the demo. */
export function addDemoOptions(command: Command): void {
  command
    .option('--once', 'end after the sync, with its result as the exit code')
    .option(
      '--port <number>',
      'port of the api (default: BACKEND_PORT or 8080, or the next free one)',
      wholeNumber(1, 65_535),
    )
    .option('--latency <ms>', 'milliseconds until the simulated panel answers', amount, 20)
    .option('--limit <requests>', 'requests per minute that the simulated panel allows; 0 = no limit', amount, 240);
  for (const name of SIZE_NAMES) {
    command.option(`--${name} <number>`, `in the simulated panel (default: ${SIZES[name]})`, amount);
  }
}

/** The sizes of the simulated panel: those of the options, else the defaults. */
export const panelSizes = (flags: DemoFlags): Record<SizeName, number> => ({
  locations: flags.locations ?? SIZES.locations,
  nodes: flags.nodes ?? SIZES.nodes,
  allocations: flags.allocations ?? SIZES.allocations,
  nests: flags.nests ?? SIZES.nests,
  eggs: flags.eggs ?? SIZES.eggs,
  users: flags.users ?? SIZES.users,
  servers: flags.servers ?? SIZES.servers,
  databases: flags.databases ?? SIZES.databases,
  subusers: flags.subusers ?? SIZES.subusers,
});
