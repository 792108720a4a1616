/** How large a generated panel is, and when its rows were made. */
import { panelTime } from './world.ts';

/** How many rows of each kind; `variables` is per egg. */
export interface PanelSizes {
  locations: number;
  nodes: number;
  allocations: number;
  nests: number;
  eggs: number;
  variables: number;
  users: number;
  servers: number;
  databases: number;
  databaseHosts: number;
  subusers: number;
}

/** A small panel, enough to meet every trap. */
export const DEFAULT_SIZES: PanelSizes = {
  locations: 3,
  nodes: 6,
  allocations: 1_200,
  nests: 6,
  eggs: 16,
  variables: 4,
  users: 120,
  servers: 250,
  databases: 60,
  databaseHosts: 3,
  subusers: 80,
};

/** Everything was made from here on. */
export const EPOCH = Date.UTC(2025, 2, 1, 8);
/** Milliseconds. */
export const MINUTE = 60_000;
/** Both times of the row `index`, from minute `from` after the epoch. */
export const times = (from: number, index: number) => ({
  created_at: panelTime(EPOCH + from * MINUTE + index * MINUTE),
  updated_at: panelTime(EPOCH + from * MINUTE + index * 3 * MINUTE),
});
