/** Verifies session and identity tokens: signature, issuer, times, subject, audience and scope. A token is never quoted. */
import {
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  jwtVerify,
  UnsecuredJWT,
} from 'jose';
import { z } from 'zod';
import type { TokenClaims, TokenVerifier, Verified, VerifyOptions } from './answers.ts';
import { isToken, uuid } from './fields.ts';
import { COOLDOWN_MS, createKeys, type Keys, type KeysOptions, KeysUnavailable } from './keys.ts';

export interface TokenVerifierOptions extends KeysOptions {
  /** `iss` of the tokens, exactly. */
  issuer: string;
  /** Default true. False: signatures are not looked at, everything else is. */
  enabled?: boolean;
  /** Unix milliseconds by which tokens expire; default: the clock. Keys are kept by the real clock. */
  now?: () => number;
}

/** Clocks may differ by this much (the contract's skew). */
const SKEW_SECONDS = 60;
/** jose takes an `iat` in the future unless an age is given. */
const MAX_AGE = '24h';
const IDENTITY_SCOPE = 'hytale:server';
/** Years beyond this are no times of tokens. */
const MAX_EXP_SECONDS = Date.UTC(2100, 0) / 1_000;

const CLAIMS = z.looseObject({
  iss: z.string(),
  sub: uuid,
  iat: z.number(),
  exp: z.number().max(MAX_EXP_SECONDS),
  nbf: z.number().optional(),
  aud: z.union([z.string(), z.array(z.string())]).optional(),
  scope: z.string().optional(),
});

/** A verifier with keys of its own; a process needs one. */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const { issuer, enabled = true, now = Date.now } = options;
  const keys = createKeys(options);
  return {
    ready: async () => {
      if (!enabled) return { ok: true };
      try {
        await keys.ready();
        return { ok: true };
      } catch (error) {
        return { ok: false, detail: outageText(error) };
      }
    },
    verify: async (token, wanted) => {
      const clear = token.reveal();
      if (!isToken(clear)) return invalid('The token is empty or not readable');
      try {
        const rules = rulesOf(issuer, wanted, wanted.now ?? new Date(now()));
        const maxAge = wanted.justReceived === true ? 0 : COOLDOWN_MS;
        const payload = enabled ? await verifySigned(keys, clear, rules, maxAge) : readUnsigned(clear, rules);
        return judge(payload, wanted);
      } catch (error) {
        return verdictOf(error);
      }
    },
    status: () => keys.status(),
    refresh: async () => {
      // A failure stands in the status.
      await keys.fetchKeys().catch(() => {});
      return keys.status();
    },
  };
}

const rulesOf = (issuer: string, { audience }: VerifyOptions, currentDate: Date): JWTVerifyOptions => ({
  algorithms: ['EdDSA'],
  issuer,
  clockTolerance: SKEW_SECONDS,
  requiredClaims: ['exp', 'iat', 'sub'],
  maxTokenAge: MAX_AGE,
  currentDate,
  ...(audience === undefined ? {} : { audience }),
});

/** @param maxAge milliseconds: if no key fits, older ones are fetched again. */
async function verifySigned(keys: Keys, token: string, rules: JWTVerifyOptions, maxAge: number): Promise<JWTPayload> {
  const began = Date.now();
  try {
    return await verifyWith(keys.find, token, rules);
  } catch (error) {
    // Keys that another token had fetched meanwhile may fit, too.
    if (!isKeyMissing(error, token) || !(await keys.renew({ ifBefore: began - maxAge, began }))) throw error;
    return verifyWith(keys.find, token, rules);
  }
}

/** Whether the key can have been rotated in. A token that names no key is tried with those that are known. */
const isKeyMissing = (error: unknown, token: string): boolean =>
  error instanceof errors.JWKSNoMatchingKey ||
  (error instanceof errors.JWSSignatureVerificationFailed && decodeProtectedHeader(token).kid === undefined);

async function verifyWith(find: JWTVerifyGetKey, token: string, rules: JWTVerifyOptions): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, find, rules)).payload;
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    return verifyByAny(error, token, rules);
  }
}

/** A token without a key id, while several keys are published, as during a rotation: one of them must fit. */
async function verifyByAny(keys: errors.JWKSMultipleMatchingKeys, token: string, rules: JWTVerifyOptions) {
  for await (const key of keys) {
    try {
      return (await jwtVerify(token, key, rules)).payload;
    } catch (error) {
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error;
    }
  }
  throw new errors.JWSSignatureVerificationFailed();
}

/** The claims of a token whose signature is not looked at. jose checks them in a token that is declared unsigned. */
function readUnsigned(token: string, rules: JWTVerifyOptions): JWTPayload {
  const [header, payload, signature, ...more] = token.split('.');
  if (!header || !payload || !signature || more.length > 0) throw new errors.JWTInvalid();
  const { algorithms: _, ...claimRules } = rules;
  const unsigned = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url');
  return UnsecuredJWT.decode(`${unsigned}.${payload}.`, claimRules).payload;
}

/** What jose does not check: the forms of the claims, whom the token stands for, and what it is for. */
function judge(payload: JWTPayload, { type, profileUuid }: VerifyOptions): Verified {
  const read = CLAIMS.safeParse(payload);
  if (!read.success) {
    // A name of the schema, not of the token.
    const [claim] = read.error.issues.map(({ path }) => String(path[0] ?? ''));
    return invalid(
      claim === 'sub' ? 'The token does not name a profile' : `The token has a claim "${claim}" of a wrong form`,
    );
  }
  const claims: TokenClaims = { ...payload, ...read.data };
  if (profileUuid !== undefined && claims.sub !== profileUuid.toLowerCase()) {
    return invalid('The token stands for another profile');
  }
  if (type === 'identity' && !(claims.scope ?? '').split(' ').includes(IDENTITY_SCOPE)) {
    return invalid(`The identity token lacks the scope ${IDENTITY_SCOPE}`);
  }
  return { state: 'valid', claims, expiresAt: new Date(claims.exp * 1_000) };
}

const invalid = (detail: string): Verified => ({ state: 'invalid', code: 'INVALID_TOKEN', detail });

const OTHER_CLAIM: Readonly<Record<string, string>> = {
  iss: 'The token was issued by another service',
  aud: 'The token is meant for another audience',
  iat: 'The token is dated in the future, or has no date',
  nbf: 'The token is not valid yet',
};

function verdictOf(error: unknown): Verified {
  // Of a claim, only the name is shown: jose checks those of its options.
  if (error instanceof errors.JWTExpired) {
    return { state: 'invalid', code: 'EXPIRED_TOKEN', detail: 'The token has expired' };
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    return invalid(OTHER_CLAIM[error.claim] ?? `The token lacks the claim "${error.claim}", or it is not valid`);
  }
  if (error instanceof errors.JWKSNoMatchingKey)
    return invalid('The token is signed with a key that Hytale does not publish');
  if (error instanceof errors.JWSSignatureVerificationFailed) return invalid('The signature of the token is wrong');
  if (error instanceof errors.JOSEAlgNotAllowed) return invalid('The token is not signed with EdDSA');
  if (isAboutToken(error)) return invalid('The token is not a JSON Web Token that can be read');
  return { state: 'unknown', detail: outageText(error) };
}

const isAboutToken = (error: unknown): boolean =>
  error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid || error instanceof errors.JOSENotSupported;

const outageText = (error: unknown): string =>
  error instanceof KeysUnavailable ? error.message : 'The keys of Hytale cannot be read';
