/** The body of a request by its type (docs.discord.com/developers/reference, "Uploading Files"). */
import { refuse, refuseForm } from '../errors.ts';

/** 10 MiB for webhooks since 2025-01-16 (discord/discord-api-docs#7312), and the rest of the body; above, 413 (#6058). */
const MAX_FILE_BYTES = 10 * 1024 * 1024;
export const MAX_BODY_BYTES = MAX_FILE_BYTES + 1024 * 1024;

const TYPES = ['application/json', 'multipart/form-data', 'application/x-www-form-urlencoded'];

/**
 * The values of a body, and the number of its files.
 * @throws {Refusal} without a known type, for broken JSON, for a file that is too large.
 */
export async function readBody(
  bytes: Buffer,
  contentType: string | undefined,
  version: number,
): Promise<{ body: unknown; files: number }> {
  const type = contentType?.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (!TYPES.includes(type)) {
    const message = `Expected "Content-Type" header to be one of {'application/json', 'application/x-www-form-urlencoded', 'multipart/form-data'}.`;
    throw refuseForm([{ path: [], code: 'CONTENT_TYPE_INVALID', message }], version);
  }
  if (type === 'application/json') return { body: parseJson(bytes), files: 0 };
  const form = await new Response(new Uint8Array(bytes), { headers: { 'content-type': contentType ?? '' } })
    .formData()
    .catch(() => undefined);
  if (form === undefined) throw refuse(50109);
  const values: Record<string, unknown> = {};
  let files = 0;
  for (const [name, value] of form) {
    if (typeof value === 'string') values[name] = value;
    else if (value.size > MAX_FILE_BYTES) throw refuse(40005);
    else files += 1;
  }
  const json = values['payload_json'];
  return { body: typeof json === 'string' ? parseJson(Buffer.from(json)) : values, files };
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw refuse(50109);
  }
}
