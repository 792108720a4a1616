/** `/api/admin/nests` and `/api/admin/eggs`. */
import { z } from 'zod';
import {
  countEggs,
  countNests,
  type EggRow,
  listEggs,
  listNests,
  type NestRow,
} from '../../../store/inventory/eggs.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import { clampedInteger, numericId, PageNumber, queryText, searchText } from '../../http/fields.ts';
import { isoOrNull, Pagination, paginationOf, rowsOf } from '../../http/lists.ts';
import { defineRoute, type Route } from '../../http/route.ts';

/** What the routes of the area have in common. */
const area = { tags: ['Inventory'], auth: 'admin' } as const;

const pages = { page: PageNumber, pageSize: clampedInteger({ min: 1, max: 200, fallback: 25 }) };

const common = {
  id: z.int(),
  uuid: z.string(),
  name: z.string(),
  description: z.string(),
  author: z.string(),
  serverCount: Count,
  createdAt: IsoDate.nullable(),
  updatedAt: IsoDate.nullable(),
};
const NestSchema = z.object({ ...common, eggCount: Count }).meta({ id: 'Nest', description: 'A group of eggs' });
const EggSchema = z
  .object({ ...common, nestId: z.int(), nestName: z.string() })
  .meta({ id: 'Egg', description: 'What a server is installed from, usually a game' });

/** The fields that nests and eggs share. */
const toWireCommon = (row: Omit<NestRow, 'eggCount'>) => ({
  id: row.id,
  uuid: row.uuid ?? '',
  name: row.name ?? '',
  description: row.description ?? '',
  author: row.author ?? '',
  serverCount: row.serverCount,
  createdAt: isoOrNull(row.createdAt),
  updatedAt: isoOrNull(row.updatedAt),
});

const toWireNest = (row: NestRow): z.input<typeof NestSchema> => ({ ...toWireCommon(row), eggCount: row.eggCount });

const toWireEgg = (row: EggRow): z.input<typeof EggSchema> => ({
  ...toWireCommon(row),
  nestId: row.nestId,
  nestName: row.nestName ?? '',
});

export const eggRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/admin/nests',
    operationId: 'listNests',
    summary: 'Nests by name',
    query: z.object({ ...pages, search: searchText('Part of the name, in any case') }),
    responses: { 200: z.object({ success: z.literal(true), nests: z.array(NestSchema), pagination: Pagination }) },
    errors: [],
    failureMessage: 'Failed to fetch nests',
    async handler({ input: { query }, deps }) {
      const filter = { search: query.search };
      const total = await deps.totals.of('nests', filter, () => countNests(deps.db, filter));
      const nests = await listNests(deps.db, { ...filter, ...rowsOf(query) });
      const pagination = paginationOf(query, total);
      return { status: 200, body: { success: true, nests: nests.map(toWireNest), pagination } };
    },
  }),
  defineRoute({
    ...area,
    method: 'get',
    path: '/api/admin/eggs',
    operationId: 'listEggs',
    summary: 'Eggs by name of the nest and name',
    query: z.object({
      ...pages,
      nestId: queryText({ description: 'Number of a nest; empty: all nests' }),
      search: searchText('Part of the name or the description, in any case'),
    }),
    responses: { 200: z.object({ success: z.literal(true), eggs: z.array(EggSchema), pagination: Pagination }) },
    errors: [],
    failureMessage: 'Failed to fetch eggs',
    async handler({ input: { query }, deps }) {
      const nestId = query.nestId === '' ? undefined : numericId(query.nestId, 'Invalid nest id');
      const filter = { nestId, search: query.search };
      const total = await deps.totals.of('eggs', filter, () => countEggs(deps.db, filter));
      const eggs = await listEggs(deps.db, { ...filter, ...rowsOf(query) });
      const pagination = paginationOf(query, total);
      return { status: 200, body: { success: true, eggs: eggs.map(toWireEgg), pagination } };
    },
  }),
];
