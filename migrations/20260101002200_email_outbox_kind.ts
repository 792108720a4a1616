import type { Knex } from 'knex';

/** The outbox kind `mail.send` becomes `email.send`, in rows that still wait or failed; rows that were dispatched stay. */
export async function up(knex: Knex): Promise<void> {
  await rename(knex, { kind: 'mail.send', key: 'mailId' }, { kind: 'email.send', key: 'emailId' });
}

/** The old kind again, which the release before this one knows. */
export async function down(knex: Knex): Promise<void> {
  await rename(knex, { kind: 'email.send', key: 'emailId' }, { kind: 'mail.send', key: 'mailId' });
}

interface Spelling {
  kind: string;
  /** Key of the payload that holds the id of the email. */
  key: string;
}

async function rename(knex: Knex, from: Spelling, to: Spelling): Promise<void> {
  await knex.raw(
    `update outbox set kind = :toKind, dedupe_key = cast(:toKind as text) || substr(dedupe_key, length(:fromKind) + 1),
       payload = payload - cast(:fromKey as text) || jsonb_build_object(cast(:toKey as text), payload -> :fromKey)
     where kind = :fromKind and status <> 'dispatched'`,
    { fromKind: from.kind, fromKey: from.key, toKind: to.kind, toKey: to.key },
  );
}
