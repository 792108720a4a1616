/** The pages of the catcher: the list of emails, one email, its HTML part. The content of an email is shown as text or runs nothing. */
import { html, type SafeHtml } from '../../src/messages/html.ts';
import type { CaughtEmail } from './contract.ts';

/** A page with the headers that it needs. */
export interface Page {
  headers: Record<string, string>;
  body: string;
}

const REFRESH_SECONDS = 3;
/** Maximum number of emails on the list, because a browser loads it again every few seconds. */
const MAX_ROWS = 200;

const STYLE = html`
:root { color-scheme: light dark; --line: #8884; --dim: #888; --accent: #6366f1; }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
a { color: var(--accent); }
p, time, .dim { color: var(--dim); }
ul { list-style: none; padding: 0; margin: 0; }
li { border-top: 1px solid var(--line); }
li a { display: grid; gap: 0 1rem; grid-template-columns: 1fr auto; padding: .6rem .25rem; text-decoration: none; color: inherit; }
li a:hover strong { color: var(--accent); }
li strong, li span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
li span { color: var(--dim); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); padding: .75rem; margin: 0; }
iframe { width: 100%; height: 44rem; border: 1px solid var(--line); background: #fff; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; } dt { margin-top: .4rem; } }
`;

const HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

/** The links of an email open in a window of their own; its scripts and forms do nothing. */
const SANDBOX = 'allow-popups allow-popups-to-escape-sandbox';

const NOTHING = html``;

function page(title: string, content: SafeHtml, head = NOTHING): Page {
  return {
    headers: {
      ...HEADERS,
      'content-security-policy':
        "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    },
    body: html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
${head}<style>${STYLE}</style>
</head>
<body>
${content}
</body>
</html>
`.toString(),
  };
}

function time(at: number): SafeHtml {
  const iso = new Date(at).toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')} UTC</time>`;
}

const subjectOf = (email: CaughtEmail): string => (email.subject === '' ? '(no subject)' : email.subject);

const row = (email: CaughtEmail): SafeHtml => html`<li><a href="/mails/${encodeURIComponent(email.id)}">
<strong>${subjectOf(email)}</strong> ${time(email.at)}
<span>${email.to.join(', ')}</span> <span>${email.via}</span>
</a></li>
`;

/** The latest emails, newest first; the page refreshes itself. */
export function listPage(emails: readonly CaughtEmail[], smtp: boolean): Page {
  const rows = emails.slice(-MAX_ROWS).toReversed().map(row);
  const count = `${emails.length} ${emails.length === 1 ? 'email' : 'emails'}`;
  const shown = emails.length > rows.length ? `, the latest ${rows.length} are shown` : '';
  return page(
    `Email catcher (${emails.length})`,
    html`<h1>Email catcher</h1>
<p>${count}${shown}. No email leaves this machine: what is sent by ${smtp ? 'the API or SMTP' : 'the API'} ends here.</p>
${rows.length === 0 ? NOTHING : html`<ul>\n${rows}</ul>`}`,
    html`<meta http-equiv="refresh" content="${REFRESH_SECONDS}">\n`,
  );
}

/** One email: headers, HTML part in a frame, text part, and the message as it arrived. */
export function emailPage(email: CaughtEmail): Page {
  const facts: (readonly [string, string])[] = [['Id', email.id], ...email.headers];
  if (email.idempotencyKey !== null) facts.push(['Idempotency-Key', email.idempotencyKey]);
  return page(
    subjectOf(email),
    html`<p><a href="/">All emails</a></p>
<h1>${subjectOf(email)}</h1>
<p>${time(email.at)} by ${email.via}</p>
<dl>
${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>\n`)}</dl>
${email.html === null ? NOTHING : frame(email.id)}${email.text === null ? NOTHING : textPart(email.text)}${email.raw === null ? NOTHING : source(email.raw)}`,
  );
}

const frame = (id: string): SafeHtml => html`<h2>HTML part</h2>
<iframe title="HTML part" sandbox="${SANDBOX}" src="/mails/${encodeURIComponent(id)}/html"></iframe>
`;

const textPart = (text: string): SafeHtml => html`<h2>Text part</h2>
<pre>${text}</pre>
`;

const source = (raw: string): SafeHtml => html`<h2>Source</h2>
<details><summary>${raw.length} characters</summary><pre>${raw}</pre></details>
`;

/** The HTML part alone, with a policy under which nothing runs or loads. */
export function htmlPart(content: string): Page {
  return {
    headers: {
      ...HEADERS,
      'content-security-policy': `default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox ${SANDBOX}`,
    },
    // The target lets links leave the frame; nothing else is added.
    body: content.replace(/<head(?:\s[^>]*)?>|$/i, (head) => `${head}<base target="_blank">`),
  };
}

/** The page for an address that does not exist. */
export const missingPage = (): Page =>
  page('Not found', html`<p>There is no such email. <a href="/">All emails</a></p>`);
