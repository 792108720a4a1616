/** Whether a secret can be guessed: one rule for every secret that signs, encrypts or opens the API. */

/** Half of what `openssl rand -hex 32` gives. With fewer, a signing secret is easier to guess than its digest (RFC 7518, 3.2). */
const MIN_SECRET_CHARACTERS = 32;
/** A random text of 32 characters has more different ones: with the 16 hex digits, fewer than 8 have a chance below 10^-7. */
const MIN_DIFFERENT = 8;

/** What is wrong with a secret text, such as JWT_SECRET; undefined when it is strong enough. */
export function secretProblem(text: string): string | undefined {
  const characters = [...text];
  if (characters.length < MIN_SECRET_CHARACTERS) return `must be ${MIN_SECRET_CHARACTERS} characters or more`;
  return new Set(characters).size < MIN_DIFFERENT
    ? `must have ${MIN_DIFFERENT} or more different characters`
    : undefined;
}

/** What is wrong with the 32 bytes of an encryption key; undefined when they can be random. */
export const keyProblem = (bytes: Uint8Array): string | undefined =>
  new Set(bytes).size < MIN_DIFFERENT ? `must have ${MIN_DIFFERENT} or more different bytes` : undefined;
