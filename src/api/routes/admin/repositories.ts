/** `/api/admin/settings/repos`: the GitHub repositories that the site shows. */
import { z } from 'zod';
import {
  addRepository,
  listRepositories,
  removeRepository,
  replaceRepository,
} from '../../../services/settings/repositories.ts';
import { changedBy } from '../../context.ts';
import { BodyText, OptionalText, optionalInteger, queryText } from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';

const tags = ['Admin: settings'];
const path = '/api/admin/settings/repos';
const List = z.object({ success: z.literal(true), repos: z.array(z.string()) });
const answer = (repos: string[]) => ({ status: 200 as const, body: { success: true as const, repos } });
const invalid = { code: 'VALIDATION_ERROR', publicMessage: 'Invalid request body' } as const;
const RepoInQuery = queryText({ description: 'When the body has none' });
const Index = optionalInteger({ minimum: 0 });

export const repositoryRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path,
    operationId: 'listRepositories',
    summary: 'The GitHub repositories',
    tags,
    auth: 'admin',
    responses: { 200: List },
    errors: [],
    failureMessage: 'Failed to fetch repositories',
    async handler({ deps }) {
      return answer(await listRepositories(deps.settings));
    },
  }),
  defineRoute({
    method: 'post',
    path,
    operationId: 'addRepository',
    summary: 'Add a repository',
    tags,
    auth: 'admin',
    audit: 'repositories-changed',
    invalid,
    query: z.object({ repo: RepoInQuery }),
    body: z.object({ repo: BodyText }),
    responses: { 200: List },
    errors: [],
    failureMessage: 'Failed to save repositories',
    async handler(call) {
      const { query, body } = call.input;
      return answer(await addRepository(call.deps, body.repo || query.repo, changedBy(call)));
    },
  }),
  defineRoute({
    method: 'put',
    path,
    operationId: 'replaceRepository',
    summary: 'Replace a repository',
    description: 'A repository that is not in the list is added.',
    tags,
    auth: 'admin',
    audit: 'repositories-changed',
    invalid,
    query: z.object({ repo: RepoInQuery, oldRepo: RepoInQuery }),
    body: z.object({ repo: BodyText, oldRepo: OptionalText }),
    responses: { 200: List },
    errors: [],
    failureMessage: 'Failed to save repositories',
    async handler(call) {
      const { query, body } = call.input;
      const replaced = { from: body.oldRepo || query.oldRepo, to: body.repo || query.repo };
      return answer(await replaceRepository(call.deps, replaced, changedBy(call)));
    },
  }),
  defineRoute({
    method: 'delete',
    path,
    operationId: 'removeRepository',
    summary: 'Remove a repository',
    description: 'By `repo`, or else by `index`, in the body or the query. Without both nothing is removed.',
    tags,
    auth: 'admin',
    audit: 'repositories-changed',
    invalid,
    query: z.object({ repo: RepoInQuery, index: Index }),
    body: z.object({ repo: OptionalText, index: Index }),
    responses: { 200: List },
    errors: [],
    failureMessage: 'Failed to save repositories',
    async handler(call) {
      const { query, body } = call.input;
      const removed = { repo: body.repo || query.repo, index: body.index ?? query.index };
      return answer(await removeRepository(call.deps, removed, changedBy(call)));
    },
  }),
];
