/** Texts of messages with the marks that Discord reads (support.discord.com, "Markdown Text 101"), as HTML. */
import { html, type SafeHtml } from '../../src/messages/html.ts';

/** A backslash, code, bold, struck out, italic, a masked link, a bare link, a mention of everyone. */
const MARKS =
  /\\(?<escaped>[^A-Za-z0-9\s])|`(?<code>[^`]+)`|\*\*(?<bold>(?:\\.|[^\\])+?)\*\*(?!\*)|~~(?<struck>(?:\\.|[^\\])+?)~~|\*(?<italic>(?:\\.|[^\\*\n])+)\*|(?<!\w)_(?<slanted>(?:\\.|[^\\_\n])+)_(?!\w)|\[(?<label>(?:\\.|[^\\\]\n])+)\]\((?<target>https?:\/\/[^\s)]+)\)|(?<url>https?:\/\/[^\s<]*[^\s<.,:;"')\]])|(?<everyone>@(?:everyone|here))/gs;

/** A link only if the URL is one of the web: a page must not run what a message says. */
export const linked = (text: string | SafeHtml, url: string | undefined): SafeHtml =>
  url !== undefined && /^https?:\/\//i.test(url) ? html`<a href="${url}" rel="noreferrer">${text}</a>` : html`${text}`;

/** A text as Discord shows it; what it does not read stays as it is written. */
export function markdown(text: string): SafeHtml {
  const parts: (string | SafeHtml)[] = [];
  let end = 0;
  for (const match of text.matchAll(MARKS)) {
    parts.push(text.slice(end, match.index), marked(match.groups ?? {}));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return html`${parts.map((part) => html`${part}`)}`;
}

function marked(groups: Readonly<Record<string, string | undefined>>): SafeHtml {
  const { escaped, code, bold, struck, label, target, url, everyone } = groups;
  const italic = groups['italic'] ?? groups['slanted'];
  if (code !== undefined) return html`<code>${code}</code>`;
  if (bold !== undefined) return html`<b>${markdown(bold)}</b>`;
  if (struck !== undefined) return html`<s>${markdown(struck)}</s>`;
  if (italic !== undefined) return html`<i>${markdown(italic)}</i>`;
  if (label !== undefined) return linked(markdown(label), target);
  if (everyone !== undefined) return html`<mark>${everyone}</mark>`;
  return url === undefined ? html`${escaped ?? ''}` : linked(url, url);
}
