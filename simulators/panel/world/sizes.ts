/** The sizes of a generated panel and the times of its rows. */
import { panelTime } from './world.ts';

/** Number of rows per entity; `variables` is per egg. */
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

/** A small panel that contains every special case of the generator. */
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

/** The time of the first generated row, Unix milliseconds. */
export const EPOCH = Date.UTC(2025, 2, 1, 8);
/** One minute in milliseconds. */
export const MINUTE = 60_000;
/** Creation and update time of the row `index`; `from` is the minute of row 0 after the epoch. */
export const times = (from: number, index: number) => ({
  created_at: panelTime(EPOCH + from * MINUTE + index * MINUTE),
  updated_at: panelTime(EPOCH + from * MINUTE + index * 3 * MINUTE),
});
