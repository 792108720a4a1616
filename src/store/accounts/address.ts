/** How a stored address is compared, in every look-up of an account and in the merge of a sync. */

/**
 * SQL: the address of a row in lower case, without spaces around it, which services before this one may have stored. It is
 * compared with what `normalizeEmail` makes of a typed address. The index `users_email_address_unique` is over this
 * expression.
 */
export const addressOf = (alias: string): string => `lower(btrim(${alias}.email))`;

/**
 * SQL of an `order by` over alias u: which account comes first where several have one address. Only a database in which the
 * index could not be unique has such accounts. The exact spelling wins, then one that differs by spaces alone, then the older
 * row. Its two bindings are those of {@link spelledAs}.
 */
export const EXACT_FIRST = '(u.email = ?) desc, (btrim(u.email) = ?) desc, u."createdAt", u.id';

/** Bindings of {@link EXACT_FIRST}. @param typed the address as a person typed it. */
export const spelledAs = (typed: string): [string, string] => [typed.trim(), typed.trim()];
