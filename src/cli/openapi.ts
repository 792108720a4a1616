/** `openapi`: the OpenAPI document of the api, without starting it. */
import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { createOpenApiDocument } from '../api/http/openapi.ts';
import { routes } from '../api/routes/index.ts';

/** Adds `openapi [--out <file>]`; prints to standard output without a file. */
export function registerOpenApiCommand(program: Command): void {
  program
    .command('openapi')
    .description('write the OpenAPI document')
    .option('--out <file>', 'file to write; default: standard output')
    .action(async (flags: { out?: string }) => {
      const text = `${JSON.stringify(createOpenApiDocument(routes, program.version() ?? '0'), null, 2)}\n`;
      if (flags.out === undefined) process.stdout.write(text);
      else await writeFile(flags.out, text);
    });
}
