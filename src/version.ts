/** The version of the package, which logs, error reports and outbound requests name. */
import { readFileSync } from 'node:fs';

/** Reads the version of package.json, e.g. `0.1.0`. */
export function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest ? String(manifest.version) : '0';
}
