/** What of a run is still to be read. */
import type { Entity } from '../../domain/sync/targets.ts';
import type { SourceState } from './sources.ts';

/** Entities of which an open source may still deliver records. */
export const unread = (sources: readonly SourceState[]): Entity[] => [
  ...new Set(sources.filter(({ state }) => state === 'reading' || state === 'checking').flatMap(entitiesOf)),
];

/** Entities that come with a source: its own, those of its includes, and those of the lists that will be read for each of its records. */
function entitiesOf({ source, include, children }: SourceState): Entity[] {
  if (source.kind === 'node') return ['allocations'];
  if (source.kind === 'nest') return ['eggs', 'egg_variables'];
  if (source.kind === 'client') return ['subusers'];
  const { listing } = source;
  switch (listing) {
    case 'locations':
      return include === '' ? [listing] : [listing, 'nodes', 'allocations'];
    case 'nodes':
      return include === '' && !children ? [listing] : [listing, 'allocations'];
    case 'nests':
      return include === '' && !children ? [listing] : [listing, 'eggs', 'egg_variables'];
    case 'users':
      return [listing];
    case 'servers':
      return [listing, 'databases', 'subusers'];
  }
}
