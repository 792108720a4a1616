/** The pages of the catcher: the list of emails, one email, its HTML part. What an email says is shown, never obeyed. */
import type { CaughtEmail } from './contract.ts';

/** A page with the headers it needs. */
export interface Page {
  headers: Record<string, string>;
  body: string;
}

const REFRESH_SECONDS = 3;
/** Emails on the list, which is loaded every few seconds. */
const MAX_ROWS = 200;
const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');

const STYLE = `
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

/** Links of an email open in a window of their own; a script or a form of it does nothing. */
const SANDBOX = 'allow-popups allow-popups-to-escape-sandbox';

function page(title: string, head: string, content: string): Page {
  return {
    headers: {
      ...HEADERS,
      'content-security-policy':
        "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    },
    body: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
${head}<style>${STYLE}</style>
</head>
<body>
${content}
</body>
</html>
`,
  };
}

const time = (at: number): string => {
  const iso = new Date(at).toISOString();
  return `<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')} UTC</time>`;
};

/** The latest emails, newest first; loads itself anew. */
export function listPage(emails: readonly CaughtEmail[], smtp: boolean): Page {
  const rows = emails
    .slice(-MAX_ROWS)
    .toReversed()
    .map(
      (email) => `<li><a href="/mails/${encodeURIComponent(email.id)}">
<strong>${escaped(email.subject === '' ? '(no subject)' : email.subject)}</strong> ${time(email.at)}
<span>${escaped(email.to.join(', '))}</span> <span>${email.via}</span>
</a></li>`,
    );
  const count = `${emails.length} ${emails.length === 1 ? 'email' : 'emails'}${emails.length > rows.length ? `, the latest ${rows.length} are here` : ''}`;
  return page(
    `Email catcher (${emails.length})`,
    `<meta http-equiv="refresh" content="${REFRESH_SECONDS}">\n`,
    `<h1>Email catcher</h1>
<p>${count}. Nothing leaves this machine: what is sent by ${smtp ? 'the API or SMTP' : 'the API'} ends here.</p>
${rows.length === 0 ? '' : `<ul>\n${rows.join('\n')}\n</ul>`}`,
  );
}

/** One email: headers, text part, HTML part in a frame, and the message as it came. */
export function emailPage(email: CaughtEmail): Page {
  const about: [string, string][] = [
    ['Id', email.id],
    ...email.headers.map(([name, value]): [string, string] => [name, value]),
  ];
  if (email.idempotencyKey !== null) about.push(['Idempotency-Key', email.idempotencyKey]);
  const frame = `<iframe title="HTML part" sandbox="${SANDBOX}" src="/mails/${encodeURIComponent(email.id)}/html"></iframe>`;
  const sections = [
    `<dl>\n${about.map(([name, value]) => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`).join('\n')}\n</dl>`,
    email.html === null ? '' : `<h2>HTML part</h2>\n${frame}`,
    email.text === null ? '' : `<h2>Text part</h2>\n<pre>${escaped(email.text)}</pre>`,
    email.raw === null
      ? ''
      : `<h2>Source</h2>\n<details><summary>${email.raw.length} characters</summary><pre>${escaped(email.raw)}</pre></details>`,
  ];
  const subject = email.subject === '' ? '(no subject)' : email.subject;
  return page(
    subject,
    '',
    `<p><a href="/">All emails</a></p>\n<h1>${escaped(subject)}</h1>\n<p>${time(email.at)} by ${email.via}</p>\n${sections.join('\n')}`,
  );
}

/** The HTML part alone, with nothing to run or to load. */
export function htmlPart(html: string): Page {
  return {
    headers: {
      ...HEADERS,
      'content-security-policy': `default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox ${SANDBOX}`,
    },
    // only a target, so that the links leave the frame
    body: html.replace(/<head(?:\s[^>]*)?>|$/i, (head) => `${head}<base target="_blank">`),
  };
}

/** A short page for an address that leads nowhere. */
export const missingPage = (): Page =>
  page('Not found', '', '<p>There is no such email. <a href="/">All emails</a></p>');
