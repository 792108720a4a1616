/**
 * The tokens with which users of the panel speak to a node's daemon. Made as app/Services/Nodes/NodeJWTService.php and
 * app/Http/Controllers/Api/Client/Servers/WebsocketController.php of pterodactyl/panel make them; judged as router/tokens/parser.go,
 * router/tokens/websocket.go and NewTokenPayload in router/websocket/websocket.go of pterodactyl/wings judge them.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import type { NodeRow, ServerRow, UserRow } from '../world/rows.ts';

/** Ten minutes (WebsocketController.php). */
const LIFETIME_S = 600;

/** The secret that a node shares with its panel (Node.php, `daemon_token`: 64 characters). */
export const nodeSecret = (node: NodeRow): string =>
  createHash('sha256').update(`daemon of ${node.uuid}`).digest('hex');

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const signatureOf = (text: string, secret: string): Buffer => createHmac('sha256', secret).update(text).digest();

export interface TokenParts {
  panelUrl: string;
  node: NodeRow;
  user: UserRow;
  server: ServerRow;
  permissions: readonly string[];
  /** Unix milliseconds; default now. */
  at?: number;
}

/** A token for the console of a server, as the panel signs it (HS256). */
export function signToken({ panelUrl, node, user, server, permissions, at = Date.now() }: TokenParts): string {
  const jti = createHash('md5').update(`${user.id}${server.uuid}`).digest('hex');
  // TimestampDates.php: whole seconds
  const iat = Math.floor(at / 1_000);
  const claims = {
    iss: panelUrl,
    aud: [`${node.scheme}://${node.fqdn}:${node.daemon_listen}`],
    jti,
    iat,
    nbf: iat - 300,
    exp: iat + LIFETIME_S,
    server_uuid: server.uuid,
    permissions,
    user_uuid: user.uuid,
    user_id: user.id,
    scope: 'websocket',
    unique_id: randomBytes(8).toString('hex'),
  };
  const text = `${base64({ typ: 'JWT', alg: 'HS256', jti })}.${base64(claims)}`;
  return `${text}.${signatureOf(text, nodeSecret(node)).toString('base64url')}`;
}

const ClaimsSchema = z.object({
  exp: z.number().optional(),
  iat: z.number().optional(),
  jti: z.string().default(''),
  server_uuid: z.string().default(''),
  permissions: z.array(z.string()).default([]),
  scope: z.string().default(''),
});
export type Claims = z.infer<typeof ClaimsSchema>;

/** Why the daemon refuses a token; the client sees the text of a `jwt` error (IsJwtError in websocket.go). */
export class TokenRefusal extends Error {
  readonly jwt: boolean;
  constructor(message: string, jwt = true) {
    super(message);
    this.jwt = jwt;
  }
}
export const NOT_PRESENT = 'jwt: no jwt present';

/** @throws {TokenRefusal} for a token that is no token, or that another secret signed. */
export function parseToken(token: string, secret: string): Claims {
  const [header = '', payload = '', signature = ''] = token.split('.');
  const given = Buffer.from(signature, 'base64url');
  const right = signatureOf(`${header}.${payload}`, secret);
  if (given.length !== right.length) throw new TokenRefusal('jwt: malformed token', false);
  if (!timingSafeEqual(given, right)) throw new TokenRefusal('jwt: HMAC verification failed', false);
  return ClaimsSchema.parse(JSON.parse(Buffer.from(payload, 'base64url').toString()));
}

/**
 * Whether a token is valid at this moment: at `auth` and for each message (validJwt in websocket.go).
 * @param bootedAt Unix milliseconds of the daemon's start: older tokens are refused (Denylisted in tokens/websocket.go).
 * @throws {TokenRefusal}
 */
export function checkClaims(claims: Claims, { bootedAt, server }: { bootedAt: number; server: string }): void {
  // ExpirationTimeValidator: valid until the second has passed
  if (claims.exp === undefined || Math.floor(Date.now() / 1_000) > claims.exp) {
    throw new TokenRefusal('jwt: exp claim is invalid');
  }
  if (claims.iat === undefined || claims.iat * 1_000 < bootedAt) {
    throw new TokenRefusal('jwt: created too far in past (denylist)');
  }
  const { permissions, scope } = claims;
  if (
    !permissions.some((one) => one === 'websocket.connect' || one === '*') ||
    !scope.split(' ').includes('websocket')
  ) {
    throw new TokenRefusal('jwt: missing connect permission');
  }
  if (claims.server_uuid !== server) throw new TokenRefusal('jwt: server uuid mismatch');
}
