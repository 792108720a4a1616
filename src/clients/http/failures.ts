/** Why a request got no complete answer, as a word for programs and as a sentence for people. */

/** Why no complete answer arrived. `status` is set when the headers did. */
export type HttpFailureKind = 'timeout' | 'network' | 'body' | 'too-large';

/** Why a host was not reached. */
export type NotReached =
  | 'dns'
  | 'refused'
  | 'unreachable'
  | 'timeout'
  | 'reset'
  | 'certificate-untrusted'
  | 'certificate-expired'
  | 'certificate-name'
  | 'tls'
  | 'unknown';

/** `reason` of a body whose content encoding is unknown or broken. */
export const UNDECODABLE = 'CONTENT_ENCODING';

/** Thrown by `HttpClient.send`. It never holds a header or a body. */
export class HttpFailure extends Error {
  readonly kind: HttpFailureKind;
  readonly status: number | undefined;
  /** The transport's error code, for logs. */
  readonly reason: string | undefined;
  constructor(kind: HttpFailureKind, options: { status?: number | undefined; reason?: string | undefined } = {}) {
    super(`the request failed: ${kind}`);
    this.name = 'HttpFailure';
    this.kind = kind;
    this.status = options.status;
    this.reason = options.reason;
  }
}

/** Codes of Node, OpenSSL and undici (nodejs.org/api/errors.html, docs.openssl.org/master/man3/X509_STORE_CTX_get_error). */
const BY_CODE: Readonly<Record<string, NotReached>> = {
  ENOTFOUND: 'dns',
  ENODATA: 'dns',
  ESERVFAIL: 'dns',
  EDNS: 'dns',
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  ETIMEDOUT: 'timeout',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  UND_ERR_SOCKET: 'reset',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'certificate-untrusted',
  SELF_SIGNED_CERT_IN_CHAIN: 'certificate-untrusted',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'certificate-untrusted',
  UNABLE_TO_GET_ISSUER_CERT: 'certificate-untrusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'certificate-untrusted',
  CERT_UNTRUSTED: 'certificate-untrusted',
  CERT_HAS_EXPIRED: 'certificate-expired',
  CERT_NOT_YET_VALID: 'certificate-expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'certificate-name',
  EPROTO: 'tls',
};

/** The error code of a failed connection or request; of several addresses the first one's. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const code: unknown = Reflect.get(error, 'code');
  if (typeof code === 'string') return code;
  const [first]: unknown[] = error instanceof AggregateError ? error.errors : [];
  return first === undefined ? undefined : codeOf(first);
}

/** Why a host was not reached, by the code of the error that {@link codeOf} reads. */
export function whyNotReached(code: string | undefined): NotReached {
  if (code === undefined) return 'unknown';
  const known = BY_CODE[code];
  if (known !== undefined) return known;
  if (code.startsWith('EAI_')) return 'dns';
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_')) return 'tls';
  return 'unknown';
}

/** Why a request certainly did not arrive. */
const BEFORE_THE_REQUEST: readonly NotReached[] = [
  'dns',
  'refused',
  'unreachable',
  'certificate-untrusted',
  'certificate-expired',
  'certificate-name',
  'tls',
];

/** Whether the failure came before the request: the other side has certainly not seen it. */
export const wasNeverSent = ({ kind, reason }: HttpFailure): boolean =>
  reason === 'UND_ERR_CONNECT_TIMEOUT' || (kind === 'network' && BEFORE_THE_REQUEST.includes(whyNotReached(reason)));

const CLAUSES: Readonly<Record<NotReached, string>> = {
  dns: 'its name cannot be resolved (DNS)',
  refused: 'nothing accepts connections there (connection refused)',
  unreachable: 'there is no route to it',
  timeout: 'no connection was made in time',
  reset: 'the connection was closed before an answer',
  'certificate-untrusted':
    'its certificate is not trusted. If an authority of your own issued it, name the file of that authority in NODE_EXTRA_CA_CERTS and restart',
  'certificate-expired': 'its certificate has expired or is not valid yet',
  'certificate-name': 'its certificate is for another name',
  tls: 'no encrypted connection could be made (TLS). Check whether the port speaks TLS',
  unknown: 'the connection failed',
};

/** The text with a capital letter at its beginning. */
export const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** One public sentence. @param who what was called, for the middle of a sentence: `the panel`. */
export const notReachedText = (who: string, why: NotReached): string =>
  sentence(`${who} cannot be reached: ${CLAUSES[why]}`);

/** One public sentence about a failed request. @param who as for {@link notReachedText}. */
export function failureText(who: string, failure: HttpFailure): string {
  switch (failure.kind) {
    case 'timeout':
      return sentence(`${who} did not answer in time`);
    case 'too-large':
      return sentence(`${who} sent an answer that is larger than the limit`);
    case 'body':
      return failure.reason === UNDECODABLE
        ? sentence(`${who} sent an answer whose content encoding cannot be decoded (status ${failure.status})`)
        : sentence(`${who} answered, but the connection ended before the end of its answer`);
    case 'network':
      return notReachedText(who, whyNotReached(failure.reason));
  }
}
