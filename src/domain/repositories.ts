/** The list of GitHub repositories: how it is stored, and what a repository is. */

/** An owner has at most 39 characters, a repository 100. */
const MAX_CHARACTERS = 140;
/** As many as a person can still look through. */
const MAX_REPOSITORIES = 1000;

/** What is wrong with a changed list; undefined when it can be stored. Entries of before are not judged again. */
export function repositoriesProblem(before: readonly string[], after: readonly string[]): string | undefined {
  if (after.length > MAX_REPOSITORIES && after.length > before.length) {
    return `may have at most ${MAX_REPOSITORIES} entries`;
  }
  return after.every((one) => before.includes(one) || isRepository(one)) ? undefined : 'each entry must be owner/repo';
}

/** Whether a text is `owner/repo`. */
export const isRepository = (text: string): boolean =>
  text.length <= MAX_CHARACTERS && /^[^\s/\p{Cc}]+\/[^\s/\p{Cc}]+$/u.test(text);

/** Reads the stored text: a JSON list, or a list with one repository per line as older versions stored it. */
export function readRepositories(text: string | undefined): string[] {
  const entries = jsonList(text) ?? (text ?? '').split(/[\r\n]+/);
  return distinct(entries.filter((entry) => typeof entry === 'string'));
}

/** Trimmed, each once, in the order of their first appearance. */
export function distinct(repositories: readonly string[]): string[] {
  return [...new Set(repositories.map((one) => one.trim()).filter((one) => one !== ''))];
}

/** The text to store. */
export const repositoriesText = (repositories: readonly string[]): string => JSON.stringify(repositories);

function jsonList(text: string | undefined): unknown[] | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '');
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
