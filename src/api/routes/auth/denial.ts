/** "This was not me": the page that a verification email links to. Scanners of email open links, so only the button acts. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { DENIAL_PATH } from '../../../domain/email.ts';
import { DENIAL_PAGE_STYLE, type DenialPage, denialPage } from '../../../messages/denial-page.ts';
import { denyAccount } from '../../../services/accounts/deny-account.ts';
import { OptionalText } from '../../http/fields.ts';
import { byAddress } from '../../http/limits.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { SIGN_IN } from './shapes.ts';

const styleHash = createHash('sha256').update(DENIAL_PAGE_STYLE).digest('base64');
/** No script, nothing of another host, and a form that posts to this host only. */
const PAGE_POLICY = `default-src 'none'; style-src 'sha256-${styleHash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`;
const PAGE_HEADERS = { 'Content-Security-Policy': PAGE_POLICY, 'Referrer-Policy': 'no-referrer' };

const area = {
  ...SIGN_IN,
  path: DENIAL_PATH,
  auth: 'public',
  query: z.object({ token: OptionalText, id: OptionalText }),
} as const;
const page = (description: string) => ({ contentType: 'text/html; charset=utf-8', description });
const show = (name: DenialPage) => ({ raw: denialPage(name), headers: PAGE_HEADERS });

export const denialRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    operationId: 'showDenial',
    summary: 'The page of the link "This was not me"; changes nothing',
    limits: [{ name: 'denial-page', max: 60, windowSeconds: 900, by: byAddress }],
    responses: { 200: page('A page with a button') },
    errors: [],
    handler: async () => ({ status: 200, ...show('question') }),
  }),
  defineRoute({
    ...area,
    method: 'post',
    operationId: 'denyAccount',
    summary: 'Remove an account that somebody else registered with the reader’s address',
    description:
      'An account that is a panel customer’s, or that other rows refer to, stays and loses its password, its links and its sessions.',
    limits: [{ name: 'denial', max: 30, windowSeconds: 900, by: byAddress }],
    responses: { 200: page('What was done'), 404: page('The link works no more') },
    errors: [],
    async handler({ input: { query }, deps }) {
      const denial = await denyAccount(deps, { userId: query.id.trim(), token: query.token.trim() });
      return denial === 'invalid' ? { status: 404, ...show(denial) } : { status: 200, ...show(denial) };
    },
  }),
];
