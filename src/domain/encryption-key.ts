/** How a key for secrets at rest is written in a variable. */

const KEY_BYTES = 32;

/** Reads a 32-byte key: 64 hex digits are tried first (they are valid base64 of 48 bytes), then base64 with padding. */
export function parseEncryptionKey(text: string): Uint8Array | undefined {
  if (/^[0-9a-fA-F]{64}$/.test(text)) {
    return Uint8Array.from({ length: KEY_BYTES }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
  }
  if (!/^[A-Za-z0-9+/]{43}=$/.test(text)) return undefined;
  const bytes = atob(text);
  // The last digit has two bits that no byte holds: only one of its spellings is standard.
  return btoa(bytes) === text ? Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)) : undefined;
}
