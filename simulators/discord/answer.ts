/** Answers of the simulated API. */

export interface ApiAnswer {
  status: number;
  headers?: Record<string, string>;
  /** Body, one of the two; without both the answer has none. */
  json?: unknown;
  text?: { type: string; body: string };
  /** Discord's code of an error, for the log of requests. */
  code?: number;
}

const PAGE = 'text/html; charset=UTF-8';

/** A page of a proxy; bodies of 5xx can be HTML (seen in pajlads/DinkPlugin#589). */
export const htmlAnswer = (status: number, title: string, headers: Record<string, string> = {}): ApiAnswer => ({
  status,
  headers,
  text: { type: PAGE, body: `<!doctype html><html><head><title>${title}</title></head><body>${title}</body></html>` },
});

/** What Cloudflare answers in place of Discord, as text (seen in rotki/rotki#12752). */
export const cloudflareAnswer = (status: number, code: number, headers: Record<string, string> = {}): ApiAnswer => ({
  status,
  headers,
  text: { type: 'text/plain; charset=UTF-8', body: `error code: ${code}` },
});

const BLOCKED =
  'You are being blocked from accessing our API temporarily due to exceeding our rate limits frequently. Please read our docs at https://discord.com/developers/docs/topics/rate-limits to prevent this moving forward.';

/** The ban, a static page: no rate limit header, no `Retry-After` (discord/discord-api-docs#5810). */
export const banJson = (): ApiAnswer => ({ status: 429, code: 0, json: { message: BLOCKED, code: 0 } });

/** The ban of Cloudflare (discord/discord-api-docs#1771, #5385). */
export function banPage({ html = false, retryAfter }: { html?: boolean | undefined; retryAfter?: number | undefined }) {
  const headers: Record<string, string> = retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) };
  return html ? htmlAnswer(429, 'error code: 1015', headers) : cloudflareAnswer(429, 1015, headers);
}
