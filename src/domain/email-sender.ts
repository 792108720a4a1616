/** The sender of all email: read once from what a person wrote, written again in the form that a transport needs. */

export interface Sender {
  /** Display name; empty if there is none. */
  name: string;
  /** ASCII only; a domain in another script is in Punycode. */
  address: string;
}

/** Maximum characters of a name: with the address it must fit in one header line (RFC 5322 2.1.1). */
const NAME_LIMIT = 200;
/** Atoms in ASCII, and a domain of one or more labels: a mail server of the own network may have a name without a dot. */
const ADDRESS = /^[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[a-z0-9-]+(?:\.[a-z0-9-]+)*$/i;
/** A name in quotes or without, then an address in brackets. A company's name often has a comma, and no quotes. */
const NAMED = /^(?:"(?<quoted>(?:[^"\\]|\\.)*)"|(?<bare>[^<>"\\]*))\s*<(?<address>[^<>]*)>$/;
/** A name that needs no quotes: atoms (RFC 5322 3.2.3) and letters of any script. */
const ATOMS = /^[\p{L}\p{M}\p{N}!#$%&'*+/=?^_`{|}~ -]*$/u;

export const SENDER_FORM = 'Name <address@domain>';

/** Reads `Name <address@domain>` or `address@domain`; undefined if it is not exactly one sender with an address. */
export function parseSender(text: string): Sender | undefined {
  const trimmed = text.trim();
  if (/\p{Cc}/u.test(trimmed)) return undefined;
  const { quoted, bare = '', address: named = trimmed } = NAMED.exec(trimmed)?.groups ?? {};
  const name = quoted === undefined ? bare.trim() : quoted.replace(/\\(.)/g, '$1');
  const address = asciiAddress(named.trim());
  if (name.length > NAME_LIMIT || address === undefined || !ADDRESS.test(address)) return undefined;
  return { name, address };
}

/** The address with its domain in Punycode; undefined if the domain has no such form. */
export function asciiAddress(address: string): string | undefined {
  const at = address.lastIndexOf('@');
  const domain = address.slice(at + 1);
  if (at < 1 || domain === '') return undefined;
  if (/^\p{ASCII}*$/u.test(domain)) return address;
  const url = URL.parse(`http://${domain}`);
  return url === null || url.host !== url.hostname || url.pathname !== '/'
    ? undefined
    : `${address.slice(0, at)}@${url.hostname}`;
}

/** The text form, with quotes where the name needs them. */
export function senderText({ name, address }: Sender): string {
  if (name === '') return address;
  const quoted = ATOMS.test(name) ? name : `"${name.replace(/["\\]/g, '\\$&')}"`;
  return `${quoted} <${address}>`;
}
