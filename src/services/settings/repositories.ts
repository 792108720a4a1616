/** The list of GitHub repositories. Each change reads the list and writes it in one transaction, so that none is lost. */
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { distinct, isRepository, readRepositories, repositoriesText } from '../../domain/repositories.ts';
import { type ChangeDeps, changeSettings } from './change-settings.ts';
import type { Settings } from './settings.ts';

const KEY = 'github_repositories';

/** The list as it is stored. */
export async function listRepositories(settings: Settings): Promise<string[]> {
  const { values } = await settings.stored([KEY]);
  return readRepositories(values.get(KEY));
}

/**
 * Adds a repository at the end, if it is new.
 * @throws {AppError} VALIDATION_ERROR for a text that is not `owner/repo`.
 */
export function addRepository(deps: ChangeDeps, text: string, by: AuditOrigin): Promise<string[]> {
  const repository = requireRepository(text);
  return change(deps, by, (list) => [...list, repository]);
}

/**
 * Puts a repository in the place of another one; at the end if there is no such one.
 * @throws {AppError} VALIDATION_ERROR for a text that is not `owner/repo`.
 */
export function replaceRepository(
  deps: ChangeDeps,
  { from, to }: { from: string; to: string },
  by: AuditOrigin,
): Promise<string[]> {
  const repository = requireRepository(to);
  return change(deps, by, (list) =>
    list.includes(from.trim()) ? list.map((one) => (one === from.trim() ? repository : one)) : [...list, repository],
  );
}

/**
 * Removes a repository by its name, or else by its place in the list; one that is not there is no error.
 * @throws {AppError} VALIDATION_ERROR when neither is given: then nothing is removed.
 */
export function removeRepository(
  deps: ChangeDeps,
  { repo, index }: { repo?: string | undefined; index?: number | undefined },
  by: AuditOrigin,
): Promise<string[]> {
  const name = repo?.trim() ?? '';
  if (name === '' && (index === undefined || index < 0)) {
    throw new AppError('VALIDATION_ERROR', { publicMessage: 'Name the repository to remove: repo or index' });
  }
  return change(deps, by, (list) => list.filter((one, at) => (name === '' ? at !== index : one !== name)));
}

function requireRepository(text: string): string {
  const repository = text.trim();
  if (isRepository(repository)) return repository;
  throw new AppError('VALIDATION_ERROR', { publicMessage: 'Invalid repo format. Use owner/repo.' });
}

/** @returns the list after the change. */
async function change(
  deps: ChangeDeps,
  by: AuditOrigin,
  edit: (list: readonly string[]) => readonly string[],
): Promise<string[]> {
  let list: string[] = [];
  const edited = (present: Readonly<Record<typeof KEY, string>>) => {
    list = distinct(edit(readRepositories(present[KEY])));
    return { [KEY]: repositoriesText(list) };
  };
  // Every administrator may change the list.
  await changeSettings(deps, edited, { editor: { kind: 'user', isSystemAdministrator: false }, by });
  return list;
}
