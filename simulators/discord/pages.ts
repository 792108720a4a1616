/** The pages of the simulator: channels, and the messages of one channel as Discord shows them. Texts are only shown, nothing is loaded. */
import { html, type SafeHtml } from '../../src/messages/html.ts';
import type { DiscordSimulator, LoggedRequest, SimulatedChannel, StoredEmbed, StoredMessage } from './contract.ts';
import { linked, markdown } from './markdown.ts';

const REFRESH_SECONDS = 3;
/** Maximum number of messages and refused requests on a page, because a browser loads it again every few seconds. */
const MAX_ROWS = 100;

const STYLE = html`
:root { color-scheme: light dark; --bg: #fff; --side: #f2f3f5; --box: #f2f3f5; --text: #313338; --dim: #5c5e66; --link: #006ce7; --bad: #c9252d; }
@media (prefers-color-scheme: dark) { :root { --bg: #313338; --side: #2b2d31; --box: #2b2d31; --text: #dbdee1; --dim: #949ba4; --link: #00a8fc; --bad: #fa777c; } }
* { box-sizing: border-box; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 0; background: var(--bg); color: var(--text); display: grid; grid-template-columns: 15rem 1fr; min-height: 100vh; }
nav { background: var(--side); padding: 1rem .75rem; overflow-wrap: anywhere; }
nav h1 { font-size: 1rem; margin: 0 0 .75rem; }
nav a { display: flex; justify-content: space-between; gap: .5rem; padding: .3rem .5rem; border-radius: .3rem; color: var(--dim); text-decoration: none; }
nav a:hover, nav a[aria-current] { background: #8883; color: var(--text); }
main { padding: 1rem 1.25rem; min-width: 0; }
h2 { font-size: 1.1rem; margin: 0 0 1rem; }
h3 { font-size: .95rem; margin: 1.75rem 0 .5rem; }
p, time, .dim { color: var(--dim); }
time { font-size: .8rem; }
article { display: grid; grid-template-columns: 2.5rem 1fr; gap: 0 .9rem; padding: .5rem 0; overflow-wrap: anywhere; }
.avatar { width: 2.5rem; height: 2.5rem; border-radius: 50%; background: #5865f2; color: #fff; display: grid; place-items: center; font-weight: 600; }
.tag { background: #5865f2; color: #fff; font-size: .65rem; padding: .05rem .3rem; border-radius: .2rem; margin: 0 .4rem; vertical-align: middle; }
.content { white-space: pre-wrap; }
.embed { background: var(--box); border-left: 4px solid #8888; border-radius: .25rem; padding: .6rem .9rem .8rem; margin-top: .35rem; max-width: 33rem; }
.embed > * + * { margin-top: .45rem; }
.title { font-weight: 600; }
.title a, .author a { color: var(--link); text-decoration: none; }
.author { font-size: .85rem; font-weight: 600; }
.text { white-space: pre-wrap; font-size: .9rem; }
.fields { display: grid; grid-template-columns: repeat(3, 1fr); gap: .45rem .75rem; font-size: .875rem; }
.field { grid-column: 1 / -1; white-space: pre-wrap; min-width: 0; }
.field.inline { grid-column: auto; }
.field > strong { display: block; }
code { background: #8882; padding: .05rem .25rem; border-radius: .2rem; font-size: .85em; }
mark { background: #faa61a33; color: inherit; }
.footer, .image { font-size: .75rem; color: var(--dim); }
table { border-collapse: collapse; font-size: .85rem; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; white-space: nowrap; }
th { color: var(--dim); font-weight: 500; }
.bad { color: var(--bad); }
@media (max-width: 40rem) { body { display: block; } .fields { grid-template-columns: 1fr; } }
`;

const HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

const NOTHING = html``;

/** A page with its status and headers. */
export interface Page {
  status: number;
  headers: Readonly<Record<string, string>>;
  body: string;
}

/** `/` and `/channels/<id>`; 404 for the rest. */
export function pageOf(simulator: DiscordSimulator, method: string, path: string): Page {
  const channels = simulator.channels().filter(({ parentId }) => parentId === null);
  const id = /^\/channels\/(\d+)$/.exec(path)?.[1];
  const channel = id === undefined ? channels[0] : channels.find((other) => other.id === id);
  if ((method !== 'GET' && method !== 'HEAD') || (path !== '/' && channel === undefined) || (path !== '/' && !id)) {
    return page(404, 'Not found', html`<main><p>There is no such page. <a href="/">All channels</a></p></main>`);
  }
  const messages = simulator.messages();
  const title = channel === undefined ? 'Discord, simulated' : `#${channel.name} · Discord, simulated`;
  const content = channel === undefined ? html`<p>There is no webhook yet.</p>` : channelView(simulator, channel);
  return page(200, title, html`${channelList(channels, messages, channel)}\n<main>${content}</main>`);
}

function page(status: number, title: string, content: SafeHtml): Page {
  const body = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="${REFRESH_SECONDS}">
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
${content}
</body>
</html>
`.toString();
  return { status, headers: HEADERS, body };
}

function channelList(
  channels: readonly SimulatedChannel[],
  messages: readonly StoredMessage[],
  current: SimulatedChannel | undefined,
): SafeHtml {
  const counts = new Map<string, number>();
  for (const { channelId } of messages) counts.set(channelId, (counts.get(channelId) ?? 0) + 1);
  const rows = channels.map(({ id, name }) => {
    const here = id === current?.id ? html` aria-current="page"` : NOTHING;
    return html`<a href="/channels/${id}"${here}><span># ${name}</span> <span>${counts.get(id) ?? 0}</span></a>\n`;
  });
  return html`<nav>
<h1>Discord, simulated</h1>
${rows}<p>Nothing is posted to Discord: what the webhooks send ends here.</p>
</nav>`;
}

function time(at: number): SafeHtml {
  const iso = new Date(at).toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')} UTC</time>`;
}

function channelView(simulator: DiscordSimulator, channel: SimulatedChannel): SafeHtml {
  const messages = simulator.messages({ channel: channel.id });
  const hooks = simulator.webhooks().filter(({ channelId }) => channelId === channel.id);
  const refused = hooks
    .flatMap(({ id }) => simulator.requests(id))
    .filter(({ method, messageId }) => method === 'POST' && messageId === null)
    .toSorted((a, b) => a.n - b.n);
  const state = hooks.map(({ name, deleted }) => (deleted ? `${name} (deleted)` : name)).join(', ');
  const threads = new Map(simulator.channels().map(({ id, name }) => [id, name]));
  const shown = messages.slice(-MAX_ROWS);
  const more =
    messages.length > shown.length ? html`<p>The latest ${MAX_ROWS} of ${messages.length} messages.</p>` : NOTHING;
  return html`<h2># ${channel.name}</h2>
<p>${hooks.length === 1 ? 'Webhook' : 'Webhooks'}: ${state}</p>
${refused.length === 0 ? NOTHING : refusedView(refused.slice(-MAX_ROWS).toReversed(), refused.length)}
<h3>${messages.length === 1 ? '1 message' : `${messages.length} messages`}, newest first</h3>
${more}${shown.toReversed().map((message) => messageView(message, threads))}`;
}

function refusedView(requests: readonly LoggedRequest[], count: number): SafeHtml {
  const rows = requests
    .slice(0, 10)
    .map(
      ({ at, status, code, limited, deliveryId }) =>
        html`<tr><td>${time(at)}</td><td class="bad">${status === 0 ? 'no answer' : status}${code === null ? '' : ` (code ${code})`}${limited === null ? '' : `, limit: ${limited}`}</td><td>${deliveryId ?? ''}</td></tr>\n`,
    );
  return html`<h3>${count} ${count === 1 ? 'request' : 'requests'} without a message</h3>
<table><tr><th>time</th><th>answer</th><th>X-NodeByte-Delivery</th></tr>
${rows}</table>`;
}

function messageView(message: StoredMessage, threads: ReadonlyMap<string, string>): SafeHtml {
  const { username, at, content, embeds, deliveryId, threadId } = message;
  const thread = threadId === null ? NOTHING : html` <span class="dim">in ${threads.get(threadId) ?? threadId}</span>`;
  const delivery =
    deliveryId === null ? NOTHING : html` <span class="dim"><small>delivery ${deliveryId}</small></span>`;
  return html`<article>
<div class="avatar">${[...username][0] ?? '?'}</div>
<div><strong>${username}</strong><span class="tag">APP</span>${time(at)}${thread}${delivery}
${content === '' ? NOTHING : html`<div class="content">${markdown(content)}</div>`}${embeds.map(embedView)}</div>
</article>
`;
}

function embedView({
  title,
  description,
  url,
  color,
  timestamp,
  fields = [],
  footer,
  author,
  image,
  thumbnail,
}: StoredEmbed) {
  const bar = color === undefined ? '' : `border-left-color: #${color.toString(16).padStart(6, '0')}`;
  const end = [footer?.text, timestamp === undefined ? undefined : shownTime(timestamp)].filter(Boolean).join(' • ');
  return html`<div class="embed" style="${bar}">
${author === undefined ? NOTHING : html`<div class="author">${linked(author.name, author.url)}</div>`}${
  title === undefined ? NOTHING : html`<div class="title">${linked(markdown(title), url)}</div>`
}${description === undefined ? NOTHING : html`<div class="text">${markdown(description)}</div>`}${
  fields.length === 0 ? NOTHING : html`<div class="fields">${fields.map(fieldView)}</div>`
}${[thumbnail, image].map((picture) =>
  picture === undefined ? NOTHING : html`<div class="image">picture: ${picture.url}</div>`,
)}${end === '' ? NOTHING : html`<div class="footer">${end}</div>`}
</div>`;
}

const fieldView = ({ name, value, inline }: { name: string; value: string; inline: boolean }): SafeHtml =>
  html`<div class="field${inline ? ' inline' : ''}"><strong>${markdown(name)}</strong>${markdown(value)}</div>`;

function shownTime(timestamp: string): string {
  const time = Date.parse(timestamp);
  return Number.isNaN(time) ? timestamp : `${new Date(time).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
