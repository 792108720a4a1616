/**
 * The pages for a person: where a user code is entered and approved or refused (RFC 8628, 3.3), and the account portal,
 * where consent is withdrawn and sessions are ended.
 */
import { html, type SafeHtml } from '../../src/messages/html.ts';
import type { HytaleSimulator, SimulatedAccount } from './contract.ts';

const VERIFY = '/oauth2/device/verify';
const PORTAL = '/';
const NOTHING = html``;

const STYLE = html`
:root { color-scheme: light dark; --bg: #fff; --box: #f3f4f6; --text: #1f2328; --dim: #59636e; --link: #0969da; --bad: #c9252d; }
@media (prefers-color-scheme: dark) { :root { --bg: #1b1f24; --box: #262c33; --text: #dde3ea; --dim: #929daa; --link: #4493f8; --bad: #fa777c; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 38rem; padding: 1.5rem 1rem; background: var(--bg); color: var(--text); }
h1 { font-size: 1.3rem; }
h2 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p.dim, .dim { color: var(--dim); }
p.bad { color: var(--bad); font-weight: 600; }
a { color: var(--link); }
form.card, li.card { background: var(--box); border-radius: .5rem; padding: 1rem; margin: 0 0 .75rem; list-style: none; }
ul { padding: 0; margin: 0; }
fieldset { border: 0; padding: 0; margin: 1rem 0; }
legend { font-weight: 600; padding: 0; }
label { display: block; padding: .2rem 0; }
input[name=user_code] { font: 1.3rem ui-monospace, monospace; letter-spacing: .1em; width: 100%; padding: .4rem .6rem; }
button { font: inherit; padding: .4rem 1rem; margin: 0 .5rem 0 0; border: 1px solid #8886; border-radius: .35rem; background: var(--bg); color: inherit; cursor: pointer; }
button.main { background: #0969da; border-color: #0969da; color: #fff; }
li form { display: inline; }
`;

const HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
};

/** A page with its status and headers. */
export interface Page {
  status: number;
  headers: Readonly<Record<string, string>>;
  body: string;
}

/** The page of a request to the OAuth host; undefined: it has no such page. */
export function pageOf(simulator: HytaleSimulator, method: string, url: URL, body: string): Page | undefined {
  const form = new URLSearchParams(body);
  switch (`${method === 'HEAD' ? 'GET' : method} ${url.pathname}`) {
    case `GET ${VERIFY}`:
      return verifyPage(simulator, url.searchParams.get('user_code') ?? '');
    case `POST ${VERIFY}`:
      return decide(simulator, form);
    case `GET ${PORTAL}`:
      return portalPage(simulator);
    case 'POST /portal':
      return act(simulator, form);
    default:
      return undefined;
  }
}

function page(status: number, title: string, content: SafeHtml, refresh = NOTHING): Page {
  const body = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${refresh}<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
${content}
</body>
</html>
`.toString();
  return { status, headers: HEADERS, body };
}

const profilesOf = ({ profiles }: SimulatedAccount): string =>
  profiles.length === 0 ? 'no profile' : profiles.map(({ username }) => username).join(', ');

function verifyPage(simulator: HytaleSimulator, userCode: string, refused?: string): Page {
  const choices = simulator.accounts().map((account, index) => {
    const chosen = index === 0 ? html` checked` : NOTHING;
    return html`<label><input type="radio" name="account" value="${account.id}"${chosen}> ${account.name} <span class="dim">(${profilesOf(account)})</span></label>\n`;
  });
  const content = html`<h1>Hytale, simulated: connect a game server</h1>
${refused === undefined ? NOTHING : html`<p class="bad" role="alert">${refused}</p>\n`}<form class="card" method="post" action="${VERIFY}">
<label>The code that the server shows
<input name="user_code" value="${userCode}" required autocomplete="off" autocapitalize="off" spellcheck="false"></label>
<fieldset><legend>Sign in as</legend>
${choices.length === 0 ? html`<p>There is no simulated account.</p>` : choices}</fieldset>
<button class="main" name="action" value="approve">Approve</button>
<button name="action" value="deny">Deny</button>
</form>
<p class="dim">The client <code>hytale-server</code> asks for <code>openid offline auth:server</code>. Capital and small letters of the code differ.</p>
<p><a href="${PORTAL}">Account portal</a></p>`;
  return page(refused === undefined ? 200 : 400, 'Connect a game server · Hytale, simulated', content);
}

function decide(simulator: HytaleSimulator, form: URLSearchParams): Page {
  const userCode = (form.get('user_code') ?? '').trim();
  const account = simulator.accounts().find(({ id }) => id === form.get('account'));
  const approved = form.get('action') === 'approve';
  if (!simulator.waiting().includes(userCode))
    return verifyPage(simulator, userCode, 'This code is unknown, expired or used. Capital and small letters differ.');
  if (!approved && form.get('action') !== 'deny') return verifyPage(simulator, userCode, 'Approve or deny.');
  if (approved && account === undefined) return verifyPage(simulator, userCode, 'Choose an account.');
  if (approved && account !== undefined) simulator.approve(userCode, account.id);
  else simulator.deny(userCode);
  const said = approved ? `Approved as ${account?.name ?? ''}.` : 'Denied.';
  const content = html`<h1>${said}</h1>
<p>You can close this page. The server notices it within a few seconds.</p>
<p><a href="${PORTAL}">Account portal</a></p>`;
  return page(200, `${said} · Hytale, simulated`, content);
}

function portalPage(simulator: HytaleSimulator): Page {
  const waiting = simulator
    .waiting()
    .map(
      (code) =>
        html`<li class="card"><a href="${VERIFY}?user_code=${encodeURIComponent(code)}"><code>${code}</code></a></li>\n`,
    );
  const accounts = simulator.accounts().map((account) => {
    const live = simulator.live(account.id).length;
    return html`<li class="card"><strong>${account.name}</strong> <span class="dim">(${profilesOf(account)})</span><br>
<span class="dim">${account.id}</span><br>
${live === 1 ? '1 live game session' : `${live} live game sessions`}<br>
${button(account, 'revoke', 'Withdraw consent')}${button(account, 'end', 'End sessions')}</li>\n`;
  });
  const content = html`<h1>Hytale, simulated: account portal</h1>
<p class="dim">No account of Hytale is touched. By the clock of the simulator it is ${new Date(simulator.now()).toISOString()}.</p>
<h2>Codes that wait for approval</h2>
${waiting.length === 0 ? html`<p>None. <a href="${VERIFY}">Enter a code</a></p>` : html`<ul>${waiting}</ul>`}
<h2>Accounts</h2>
<ul>${accounts}</ul>`;
  return page(200, 'Account portal · Hytale, simulated', content, html`<meta http-equiv="refresh" content="5">\n`);
}

const button = ({ id }: SimulatedAccount, action: string, label: string): SafeHtml =>
  html`<form method="post" action="/portal"><input type="hidden" name="account" value="${id}"><button name="action" value="${action}">${label}</button></form>`;

function act(simulator: HytaleSimulator, form: URLSearchParams): Page {
  const account = form.get('account') ?? '';
  if (form.get('action') === 'revoke') simulator.revokeConsent(account);
  if (form.get('action') === 'end') simulator.endSessions(account);
  return { status: 303, headers: { location: PORTAL }, body: '' };
}
