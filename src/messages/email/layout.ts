/** The layout of all emails: one list of blocks, rendered as HTML and as plain text. */
import { html, type SafeHtml } from '../html.ts';

/** A part of an email. Its texts are plain text; their line breaks are kept. */
export type EmailBlock =
  | { readonly kind: 'text' | 'note'; readonly text: string }
  | { readonly kind: 'facts'; readonly rows: readonly (readonly [label: string, value: string])[] }
  /** A button, and the URL as text for mail programs that show no button. */
  | { readonly kind: 'link'; readonly label: string; readonly url: string };

export interface EmailContent {
  /** One line. */
  readonly subject: string;
  readonly heading: string;
  /** Text that an inbox shows after the subject; empty: the beginning of the email. */
  readonly preheader: string;
  readonly blocks: readonly EmailBlock[];
  /** Year of the copyright notice. */
  readonly year: number;
}

const BRAND = 'NodeByte';
const footer = (year: number): readonly string[] => [
  `© ${year} ${BRAND}. All rights reserved.`,
  'This is an automated message. Please do not reply.',
];

/** The accent colour of the brand. It is too light for small text, so links have a darker shade. */
const ACCENT = '#6366f1';
const LINK = '#4f46e5';
const INK = '#111827';
const MUTED = '#6b7280';
const PAPER = '#ffffff';
const BOX = '#f9fafb';
/** Width that mail programs show without scrolling. */
const WIDTH_PX = 600;
const FONT = '-apple-system,BlinkMacSystemFont,Segoe UI,Roboto,Helvetica,Arial,sans-serif';

/** Programs that ignore `<style>` show the light colours, which each element has inline. */
const STYLE = html`<style>
      body { margin: 0; padding: 0; }
      a[x-apple-data-detectors] { color: inherit; text-decoration: none; }
      @media (max-width: 480px) {
        .page { padding: 16px 8px !important; }
        .box { padding: 24px 20px 8px !important; }
      }
      @media (prefers-color-scheme: dark) {
        .page, body { background-color: #111827 !important; }
        .box { background-color: #1f2937 !important; border-color: #374151 !important; }
        .ink { color: #f3f4f6 !important; }
        .muted { color: #9ca3af !important; }
        .brand, .link { color: #a5b4fc !important; }
      }
    </style>`;

/** The HTML part. Tables and inline styles, because mail programs support little else; no script, image or remote font. */
export function layoutHtml({ subject, heading, preheader, blocks, year }: EmailContent): string {
  return `${html`<!DOCTYPE html>
<html lang="en" dir="ltr">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width,initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <meta name="supported-color-schemes" content="light dark">
    <meta name="format-detection" content="telephone=no,date=no,address=no,email=no,url=no">
    <title>${subject}</title>
    ${STYLE}
  </head>
  <body style="margin:0;padding:0;background-color:${PAPER};">
    ${hiddenLine(preheader)}
    <table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" bgcolor="${PAPER}">
      <tr>
        <td class="page" align="center" bgcolor="${PAPER}" style="padding:32px 16px;background-color:${PAPER};">
          <!--[if mso]><table role="presentation" width="${WIDTH_PX}" cellpadding="0" cellspacing="0" border="0"><tr><td><![endif]-->
          <table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0" style="max-width:${WIDTH_PX}px;">
            <tr>
              <td align="center" style="padding:0 0 24px;font-family:${FONT};">
                <span class="brand" style="font-size:28px;line-height:36px;font-weight:700;color:${ACCENT};">${BRAND}</span>
              </td>
            </tr>
            <tr>
              <td class="box" bgcolor="${BOX}" style="padding:32px 32px 16px;background-color:${BOX};border:1px solid #e5e7eb;border-radius:8px;font-family:${FONT};overflow-wrap:anywhere;word-break:break-word;">
                <h1 class="ink" style="margin:0 0 16px;font-size:22px;line-height:30px;font-weight:700;color:${INK};">${heading}</h1>
                ${blocks.map(blockHtml)}
              </td>
            </tr>
            <tr>
              <td class="muted" align="center" style="padding:24px 16px 0;font-family:${FONT};font-size:13px;line-height:20px;color:${MUTED};">
                ${lines(footer(year))}
              </td>
            </tr>
          </table>
          <!--[if mso]></td></tr></table><![endif]-->
        </td>
      </tr>
    </table>
  </body>
</html>`}\n`;
}

/** A line for the inbox, hidden in the email. The filler keeps the inbox from showing the heading after it. */
function hiddenLine(text: string): SafeHtml {
  if (text === '') return html``;
  const filler = Array.from({ length: 60 }, () => html`&#847;&zwnj;&nbsp;`);
  return html`<div style="display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;font-size:1px;line-height:1px;mso-hide:all;">${text}${filler}</div>`;
}

const lines = (texts: readonly string[]): readonly SafeHtml[] =>
  texts.map((line, i) => (i === 0 ? html`${line}` : html`<br>${line}`));

function blockHtml(block: EmailBlock): SafeHtml {
  switch (block.kind) {
    case 'text':
      return html`<p class="ink" style="margin:0 0 16px;font-size:16px;line-height:25px;color:${INK};">${lines(block.text.split('\n'))}</p>
                `;
    case 'note':
      return html`<p class="muted" style="margin:0 0 12px;font-size:14px;line-height:21px;color:${MUTED};">${lines(block.text.split('\n'))}</p>
                `;
    case 'facts':
      return html`<table role="presentation" cellpadding="0" cellspacing="0" border="0" style="margin:0 0 16px;">
                  ${block.rows.map(factHtml)}
                </table>
                `;
    case 'link':
      // The padding belongs to the link, so the whole button can be clicked; Outlook takes the padding from the cell.
      return html`<table role="presentation" cellpadding="0" cellspacing="0" border="0" style="margin:8px 0 24px;">
                  <tr>
                    <td align="center" bgcolor="${ACCENT}" style="background-color:${ACCENT};border-radius:6px;mso-padding-alt:12px 28px;">
                      <a href="${block.url}" target="_blank" rel="noopener" style="display:inline-block;padding:12px 28px;font-size:16px;line-height:24px;font-weight:700;color:#ffffff;text-decoration:none;border-radius:6px;">${block.label}</a>
                    </td>
                  </tr>
                </table>
                <p class="muted" style="margin:0 0 16px;font-size:14px;line-height:21px;color:${MUTED};">${COPY_HINT}<br><a class="link" href="${block.url}" target="_blank" rel="noopener" style="color:${LINK};text-decoration:underline;word-break:break-all;">${block.url}</a></p>
                `;
  }
}

const COPY_HINT = 'If the button does not work, copy this address into your browser:';

function factHtml([label, value]: readonly [string, string]): SafeHtml {
  const cell = 'padding:4px 0;font-size:16px;line-height:25px;vertical-align:top;';
  return html`<tr>
                    <td class="muted" style="${cell}padding-right:24px;white-space:nowrap;color:${MUTED};">${label}</td>
                    <td class="ink" style="${cell}font-weight:700;color:${INK};">${value}</td>
                  </tr>`;
}

/** Columns of the plain part: fewer than the 78 that RFC 5322 section 2.1.1 recommends, so that quote marks of a reply fit. */
const COLUMNS = 72;

/** The plain part: the same texts, wrapped. A URL has a line of its own and is not broken. */
export function layoutText({ heading, blocks, year }: EmailContent): string {
  const parts = [BRAND, heading, ...blocks.map(blockText), ['--', ...footer(year)].join('\n')];
  return `${parts.join('\n\n')}\n`;
}

function blockText(block: EmailBlock): string {
  switch (block.kind) {
    case 'text':
    case 'note':
      return block.text.split('\n').map(wrap).join('\n');
    case 'facts': {
      const width = Math.max(...block.rows.map(([label]) => label.length)) + 2;
      return block.rows.map(([label, value]) => `${`${label}:`.padEnd(width)}${value}`).join('\n');
    }
    case 'link':
      return `${block.label}:\n${block.url}`;
  }
}

/** Breaks a line between words; a word that is longer than a line stays whole. */
function wrap(line: string): string {
  if (line.length <= COLUMNS) return line.trimEnd();
  const done: string[] = [];
  let current = '';
  for (const word of line.split(/ +/)) {
    const longer = current === '' ? word : `${current} ${word}`;
    if (longer.length <= COLUMNS || current === '') current = longer;
    else {
      done.push(current);
      current = word;
    }
  }
  return [...done, current].join('\n').trimEnd();
}
