/** Reads the parts of a message that its page shows: headers, text part and HTML part. */

export interface ReadMessage {
  headers: [name: string, value: string][];
  text: string | null;
  html: string | null;
}

const bytes = (encoded: string): Buffer =>
  Buffer.from(
    encoded
      .replace(/=\r?\n/g, '')
      .replace(/=([0-9a-f]{2})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );

/** Decodes encoded words (RFC 2047) in UTF-8; other charsets stay as they are. */
function words(value: string): string {
  return value
    .replace(/\?=\s+=\?/g, '?==?')
    .replace(/(?:=\?utf-8\?[bq]\?[^?]*\?=)+/gi, (run) =>
      Buffer.concat(
        [...run.matchAll(/=\?utf-8\?([bq])\?([^?]*)\?=/gi)].map(([, kind = '', content = '']) =>
          kind.toLowerCase() === 'b' ? Buffer.from(content, 'base64') : bytes(content.replaceAll('_', ' ')),
        ),
      ).toString('utf8'),
    );
}

function split(source: string): { headers: [string, string][]; body: string } {
  const end = /\r?\n\r?\n/.exec(source);
  const head = end === null ? source : source.slice(0, end.index);
  const body = end === null ? '' : source.slice(end.index + end[0].length);
  const headers = head
    .replace(/\r?\n[ \t]+/g, ' ')
    .split(/\r?\n/)
    .flatMap((line): [string, string][] => {
      const colon = line.indexOf(':');
      return colon < 1 ? [] : [[line.slice(0, colon), words(line.slice(colon + 1).trim())]];
    });
  return { headers, body };
}

/** The first value of a header; empty if it is absent. */
export const headerOf = (headers: readonly (readonly [string, string])[], name: string): string =>
  headers.find(([own]) => own.toLowerCase() === name.toLowerCase())?.[1] ?? '';

function decode(body: string, encoding: string): string {
  if (/base64/i.test(encoding)) return Buffer.from(body, 'base64').toString('utf8');
  if (/quoted-printable/i.test(encoding)) return bytes(body).toString('utf8');
  return Buffer.from(body, 'latin1').toString('utf8');
}

function parts(source: string, depth: number): ReadMessage {
  const { headers, body } = split(source);
  const type = headerOf(headers, 'content-type');
  const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1];
  if (/^multipart\//i.test(type) && boundary !== undefined && depth < 5) {
    const inner = body
      .split(`--${boundary}`)
      .slice(1)
      .filter((part) => !part.startsWith('--'))
      .map((part) => parts(part.replace(/^\r?\n/, '').replace(/\r?\n$/, ''), depth + 1));
    return {
      headers,
      text: inner.find((part) => part.text !== null)?.text ?? null,
      html: inner.find((part) => part.html !== null)?.html ?? null,
    };
  }
  const content = decode(body, headerOf(headers, 'content-transfer-encoding')).replaceAll('\r\n', '\n');
  return /^text\/html/i.test(type) ? { headers, text: null, html: content } : { headers, text: content, html: null };
}

/** Reads a message, given as `latin1` text so that every byte is kept. */
export const readMessage = (source: string): ReadMessage => parts(source, 0);
