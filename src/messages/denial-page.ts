/** The pages behind "This was not me" in a verification email. They need no script. */
import { html } from './html.ts';

/** What a page says: the question with its button, or the result. */
export type DenialPage = 'question' | 'removed' | 'secured' | 'invalid';

/** Without characters that HTML escapes: the page's policy allows it by its digest. */
export const DENIAL_PAGE_STYLE =
  'body{margin:0 auto;max-width:36rem;padding:3rem 1rem;font-family:sans-serif;line-height:1.5;color:#111827}' +
  'button{padding:.75rem 1.75rem;border:0;border-radius:6px;background:#4f46e5;color:#fff;font:inherit;font-weight:700;cursor:pointer}';

const TEXTS: Readonly<Record<DenialPage, { title: string; text: string }>> = {
  question: {
    title: 'This was not me',
    text: 'Somebody opened a NodeByte account with your email address. If that was not you, the account is removed with this button. If that was you, close this page.',
  },
  removed: {
    title: 'The account was removed',
    text: 'It cannot be used any more. There is nothing else to do.',
  },
  secured: {
    title: 'The password was removed',
    text: 'Your address belongs to a customer of ours, so the account stays. Its password was removed and does not sign in any more. If you are this customer, choose a password of your own with "Forgot password".',
  },
  invalid: {
    title: 'This link works no more',
    text: 'It was used already, it has expired, or the address was confirmed meanwhile. If somebody else uses an account with your address, contact our support.',
  },
};

/** A whole page as HTML. The form posts to the page's own address, which holds the token. */
export function denialPage(page: DenialPage): string {
  const { title, text } = TEXTS[page];
  const button = html`<form method="post"><button>Remove the account</button></form>`;
  return `${html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
<style>${DENIAL_PAGE_STYLE}</style>
</head>
<body>
<h1>${title}</h1>
<p>${text}</p>
${page === 'question' ? button : ''}
</body>
</html>
`}`;
}
