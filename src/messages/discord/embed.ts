/** An embed within the limits of Discord (docs.discord.com/developers/resources/message, "Embed Limits"). */
import type { APIEmbed, APIEmbedField } from 'discord-api-types/v10';
import { cut, lengthOf } from './text.ts';

export const MAX_VALUE = 1_024;
const MAX_TITLE = 256;
const MAX_DESCRIPTION = 4_096;
const MAX_FOOTER = 2_048;
const MAX_FIELDS = 25;
const MAX_NAME = 256;
/** Over all texts of all embeds of a message; ours have one. */
const MAX_TEXT = 6_000;

/** What an embed says. A field without a value is left out. */
export interface Embed {
  title: string;
  description: string;
  color: number;
  fields: readonly { name: string; value: string; inline: boolean }[];
  footer: string;
}

/** Cuts what is too long; fields for which no room is left are counted in a last one. */
export function fitted({ title, description, color, fields, footer }: Embed, at: Date): APIEmbed {
  const embed = {
    title: cut(title, MAX_TITLE),
    description: cut(description, MAX_DESCRIPTION),
    color,
    footer: { text: cut(footer, MAX_FOOTER) },
    timestamp: at.toISOString(),
  };
  const used = lengthOf(embed.title) + lengthOf(embed.description) + lengthOf(embed.footer.text);
  const shown = fittedFields(
    fields.filter(({ value }) => value !== ''),
    MAX_TEXT - used,
  );
  return { ...embed, ...(shown.length > 0 ? { fields: shown } : {}) };
}

function fittedFields(fields: Embed['fields'], room: number): APIEmbedField[] {
  const all = fields.map(({ name, value, inline }) => ({
    name: cut(name, MAX_NAME),
    value: cut(value, MAX_VALUE),
    inline,
  }));
  const size = (field: APIEmbedField): number => lengthOf(field.name) + lengthOf(field.value);
  const total = all.reduce((sum, field) => sum + size(field), 0);
  if (all.length <= MAX_FIELDS && total <= room) return all;
  const more = (count: number): APIEmbedField => ({ name: '…', value: `and ${count} more`, inline: false });
  const kept: APIEmbedField[] = [];
  let left = room - size(more(all.length));
  for (const field of all.slice(0, MAX_FIELDS - 1)) {
    left -= size(field);
    if (left < 0) break;
    kept.push(field);
  }
  return [...kept, more(all.length - kept.length)];
}
