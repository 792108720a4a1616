/**
 * The envelope of the panel's answers: items, lists, pagination, included relationships. Only the envelope is checked
 * here; records.ts maps the attributes.
 */
import { z } from 'zod';
import { integerOf } from './integer.ts';

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

const Count = z.preprocess((value) => integerOf(value) ?? value, z.int().min(0));

/** `meta.pagination` of a list. `links` is ignored on purpose: the application API's links drop every other parameter. */
export const PaginationSchema = z
  .object({
    total: Count,
    count: Count,
    per_page: Count,
    current_page: Count,
    total_pages: Count,
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

/** A PHP list. */
const PhpList = z.preprocess((value) => listOf(value) ?? value, z.array(z.unknown()));

/** The outer object of a list; {@link parseListEnvelope} checks its items. */
export const ListEnvelopeSchema = z.object({
  object: z.literal('list'),
  data: PhpList,
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

const isItem = (entry: unknown): boolean => isRecord(entry) && isRecord(entry['attributes']);

/** The item that an entry of a list is. Some forks of the panel put the includes beside the attributes instead of inside. */
const toItem = (value: unknown): PanelItem => {
  if (!isRecord(value)) return { object: '', attributes: {} };
  const attributes = isRecord(value['attributes']) ? value['attributes'] : {};
  if (isRecord(value['relationships']) && attributes['relationships'] === undefined) {
    attributes['relationships'] = value['relationships'];
  }
  return { object: typeof value['object'] === 'string' ? value['object'] : '', attributes };
};

/**
 * Checks a list. An entry that is no item stays in it without attributes, so that it is rejected and not taken for deleted;
 * a list of nothing else is no list of the panel. Code checks the entries, not a schema: a record schema would copy each
 * attribute of up to 100,000 items.
 */
export function parseListEnvelope(body: unknown): Parsed<{ items: PanelItem[]; pagination?: PanelPagination }> {
  const list = ListEnvelopeSchema.safeParse(body);
  if (!list.success) return failed(list.error);
  const entries = list.data.data;
  if (entries.length > 0 && !entries.some(isItem)) {
    return { ok: false, path: isRecord(entries[0]) ? 'data.0.attributes' : 'data.0', problem: 'invalid_type' };
  }
  const items = entries.map(toItem);
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
