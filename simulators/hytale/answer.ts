/** Answers of the simulated hosts: JSON at the OAuth host, plain text for the errors of the others (seen so). */

export interface ApiAnswer {
  status: number;
  headers?: Record<string, string>;
  /** Body, one of the two; without both the answer has none. */
  json?: Record<string, unknown>;
  text?: { type: string; body: string };
  /** What was refused, for the log of requests. */
  error?: string;
}

const PLAIN = 'text/plain; charset=utf-8';
const NO_STORE = { 'cache-control': 'no-store', pragma: 'no-cache' };

/** A success of the OAuth host; RFC 6749, 5.1 asks for the headers. */
export const oauthAnswer = (json: Record<string, unknown>): ApiAnswer => ({ status: 200, headers: NO_STORE, json });

/** An error of the OAuth host (RFC 6749, 5.2). */
export const oauthError = (status: number, error: string, description: string): ApiAnswer => ({
  status,
  headers: NO_STORE,
  json: { error, error_description: description },
  error,
});

/** An error of the other hosts: plain text. */
export const textError = (status: number, body: string): ApiAnswer => ({
  status,
  text: { type: PLAIN, body },
  error: body,
});

/** A page of something in between: a proxy, a load balancer. */
export const htmlAnswer = (status: number): ApiAnswer => ({
  status,
  text: {
    type: 'text/html',
    body: `<!doctype html><html><head><title>${status}</title></head><body><h1>${status}</h1></body></html>`,
  },
  error: 'page',
});
