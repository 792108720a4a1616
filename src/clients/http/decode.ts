/** Content encodings that a server or a proxy applied, asked for or not (RFC 9110, section 8.4). */
import { type Duplex, pipeline } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw, createZstdDecompress } from 'node:zlib';

/** Makes a decoder for a body that begins with this byte. */
type Decoder = (firstByte: number) => Duplex;

/** No server applies more; each one costs a decoder. */
const MAX_ENCODINGS = 3;
/** In the first byte of zlib's format, the method: 8 is deflate (RFC 1950, section 2.2). */
const isZlib = (firstByte: number): boolean => firstByte % 16 === 8;

const DECODERS: Readonly<Record<string, Decoder>> = {
  gzip: () => createGunzip(),
  'x-gzip': () => createGunzip(),
  // zlib's format; some servers send the bare format of RFC 1951, without its header.
  deflate: (firstByte) => (isZlib(firstByte) ? createInflate() : createInflateRaw()),
  br: () => createBrotliDecompress(),
  zstd: () => createZstdDecompress(),
};

/**
 * The decoders through which a body must go, in this order; none for a body as it is.
 * @returns undefined if one of the encodings is unknown.
 */
export function decodersOf(contentEncoding: string | undefined): Decoder[] | undefined {
  const names = (contentEncoding ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'identity');
  if (names.length > MAX_ENCODINGS) return undefined;
  // The header names them in the order in which they were applied.
  const decoders = names.reverse().map((name) => (Object.hasOwn(DECODERS, name) ? DECODERS[name] : undefined));
  return decoders.every((decoder) => decoder !== undefined) ? decoders : undefined;
}

/** The decoded chunks. Nothing is decoded ahead of the reader, so a small body that unpacks to a huge one can be left. */
export async function* decode(source: AsyncIterable<Buffer>, decoder: Decoder): AsyncGenerator<Buffer> {
  const chunks = source[Symbol.asyncIterator]();
  const first = await chunks.next();
  // Answers without a body can name an encoding, too.
  if (first.done === true) return;
  const all = async function* () {
    yield first.value;
    yield* { [Symbol.asyncIterator]: () => chunks };
  };
  const decoded = decoder(first.value[0] ?? 0);
  // The reader gets every error.
  pipeline(all, decoded, () => {});
  yield* decoded;
}

/** zlib's error codes; a body that ends too early is Z_BUF_ERROR. */
export const isDecodingError = (code: string | undefined): boolean =>
  /^(Z_|ERR__ERROR|ERR_BROTLI|ERR_ZSTD|ZSTD_)/.test(code ?? '');
