/**
 * The envelope of the panel's answers: items, lists, pagination, included relationships. Only the envelope is checked
 * here; records.ts maps the attributes.
 */
import { z } from 'zod';

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** One object of the panel: its type (`server`, `egg_variable`, …) and its attributes, unchecked. */
export interface PanelItem {
  object: string;
  attributes: Record<string, unknown>;
}

/** Where a list stands; all counts are items or pages, pages count from 1. */
export interface PanelPagination {
  total: number;
  count: number;
  perPage: number;
  currentPage: number;
  totalPages: number;
}

/** `meta.pagination` of a list. `links` is ignored on purpose: the application API's links drop every other parameter. */
export const PaginationSchema = z
  .object({
    total: z.int().min(0),
    count: z.int().min(0),
    per_page: z.int().min(0),
    current_page: z.int().min(0),
    total_pages: z.int().min(0),
  })
  .transform(
    (p): PanelPagination => ({
      total: p.total,
      count: p.count,
      perPage: p.per_page,
      currentPage: p.current_page,
      totalPages: p.total_pages,
    }),
  );

/**
 * The values of a PHP list. PHP prints a list with gaps, for example one from which a duplicate was removed, as an object
 * with number keys: `{"0": a, "2": b}`. Undefined for everything else, also for `{}`, which is no proof of an empty list.
 */
export function listOf(value: unknown): unknown[] | undefined {
  if (Array.isArray(value)) return value;
  if (!isRecord(value)) return undefined;
  const keys = Object.keys(value);
  return keys.length > 0 && keys.every((key) => /^(?:0|[1-9]\d*)$/.test(key)) ? Object.values(value) : undefined;
}

/** A PHP list of `item`. */
export const phpList = <T extends z.ZodType>(item: T) => z.preprocess((value) => listOf(value) ?? value, z.array(item));

/** The outer object of a list; {@link parseListEnvelope} checks its items. */
export const ListEnvelopeSchema = z.object({
  object: z.literal('list'),
  data: phpList(z.unknown()),
  meta: z.unknown().optional(),
});

/** The outer object of a single item. */
export const ItemEnvelopeSchema = z.object({
  object: z.string(),
  attributes: z.record(z.string(), z.unknown()),
});

/** Body of an error answer. Only the short class name of the panel's exception is read. */
export const ErrorEnvelopeSchema = z.object({
  errors: z.array(z.object({ code: z.string().regex(/^[A-Za-z0-9_\\]{1,100}$/) })).min(1),
});

const BrokenRuleSchema = z.object({
  meta: z.object({
    source_field: z.string().regex(/^[\w.]{1,200}$/),
    rule: z.string().regex(/^\w{1,50}$/),
  }),
});

/** The rules that a refused request broke (status 422): field and rule, both words of the panel. Its texts are not read. */
export function brokenRules(body: unknown): { field: string; rule: string }[] {
  const errors: unknown[] = isRecord(body) && Array.isArray(body['errors']) ? body['errors'] : [];
  return errors.flatMap((entry) => {
    const parsed = BrokenRuleSchema.safeParse(entry);
    return parsed.success ? [{ field: parsed.data.meta.source_field, rule: parsed.data.meta.rule }] : [];
  });
}

/** A checked envelope, or the path at which the check failed (`data.3.attributes`), never the value found there. */
export type Parsed<T> = { ok: true; value: T } | { ok: false; path: string; problem: string };

const failed = (
  error: z.ZodError,
  prefix: readonly PropertyKey[] = [],
): { ok: false; path: string; problem: string } => {
  const issue = error.issues[0];
  return {
    ok: false,
    path: [...prefix, ...(issue?.path ?? [])].map(String).join('.'),
    // zod's codes are a closed set of words; its messages may quote the input
    problem: issue?.code ?? 'invalid',
  };
};

/**
 * Checks a list. Code checks the items, not a schema: a record schema would copy each attribute of up to 100,000 items.
 */
export function parseListEnvelope(body: unknown): Parsed<{ items: PanelItem[]; pagination?: PanelPagination }> {
  const list = ListEnvelopeSchema.safeParse(body);
  if (!list.success) return failed(list.error);
  const items: PanelItem[] = [];
  for (const [index, entry] of list.data.data.entries()) {
    if (!isRecord(entry)) return { ok: false, path: `data.${index}`, problem: 'invalid_type' };
    const { object, attributes } = entry;
    if (typeof object !== 'string') return { ok: false, path: `data.${index}.object`, problem: 'invalid_type' };
    if (!isRecord(attributes)) return { ok: false, path: `data.${index}.attributes`, problem: 'invalid_type' };
    items.push({ object, attributes });
    // Some forks of the panel put the includes beside the attributes instead of inside.
    if (isRecord(entry['relationships']) && attributes['relationships'] === undefined) {
      attributes['relationships'] = entry['relationships'];
    }
  }
  const meta = list.data.meta;
  if (!isRecord(meta) || meta['pagination'] === undefined || meta['pagination'] === null) {
    return { ok: true, value: { items } };
  }
  const pagination = PaginationSchema.safeParse(meta['pagination']);
  if (!pagination.success) return failed(pagination.error, ['meta', 'pagination']);
  return { ok: true, value: { items, pagination: pagination.data } };
}

/** Checks a single item. */
export function parseItemEnvelope(body: unknown): Parsed<PanelItem> {
  const item = ItemEnvelopeSchema.safeParse(body);
  if (!item.success) return failed(item.error);
  const attributes = item.data.attributes;
  if (isRecord(body) && isRecord(body['relationships']) && attributes['relationships'] === undefined) {
    attributes['relationships'] = body['relationships'];
  }
  return { ok: true, value: { object: item.data.object, attributes } };
}

/** What came back for one include. `null` means that the key lacks the right: the list is unknown, not empty. */
export type Relationship =
  | { kind: 'list'; items: PanelItem[] }
  | { kind: 'item'; item: PanelItem }
  | { kind: 'null' }
  | { kind: 'absent' };

/** A malformed child stays in the list, without attributes, so that it is rejected and not taken for deleted. */
const toItem = (value: unknown): PanelItem => {
  if (!isRecord(value)) return { object: '', attributes: {} };
  const attributes = isRecord(value['attributes']) ? value['attributes'] : {};
  if (isRecord(value['relationships']) && attributes['relationships'] === undefined) {
    attributes['relationships'] = value['relationships'];
  }
  return { object: typeof value['object'] === 'string' ? value['object'] : '', attributes };
};

const sibling = (item: PanelItem): unknown => ('relationships' in item ? item.relationships : undefined);

/**
 * The include `name` of an item, at `attributes.relationships.<name>` (or beside the attributes, as a fallback).
 * `relationships` may be `[]`, which is the panel's empty object.
 */
export function relationship(item: PanelItem, name: string): Relationship {
  const all = isRecord(item.attributes['relationships']) ? item.attributes['relationships'] : sibling(item);
  if (!isRecord(all) || !Object.hasOwn(all, name)) return { kind: 'absent' };
  const found = all[name];
  if (!isRecord(found)) return { kind: 'absent' };
  if (found['object'] === 'list') {
    const data = listOf(found['data']);
    return data === undefined ? { kind: 'absent' } : { kind: 'list', items: data.map(toItem) };
  }
  if (found['object'] === 'null_resource' || found['attributes'] === null) return { kind: 'null' };
  return { kind: 'item', item: toItem(found) };
}
