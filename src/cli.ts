/** `nodebyte`: the command line. Each group of commands is loaded when it is asked for, so that help is quick. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { ConfigError, loadConfig } from './config.ts';
import { EmbeddedError } from './embedded/process.ts';

interface Group {
  name: string;
  description: string;
  register(program: Command): Promise<void>;
}

/** The database of a command without DATABASE_URL: the embedded one of DATA_DIR, running or started for the moment. */
async function resolveDatabaseUrl(): Promise<{ url: string; release: () => Promise<void> }> {
  const { attachServices } = await import('./embedded/attach.ts');
  const services = await attachServices(loadConfig(process.env), (line) => console.error(line));
  return { url: services.databaseUrl.reveal(), release: () => services.release() };
}

const GROUPS: readonly Group[] = [
  {
    name: 'db',
    description: 'create, migrate and look at the database',
    async register(program) {
      const { registerDbCommands } = await import('./cli/db.ts');
      registerDbCommands(program, { resolveDatabaseUrl });
    },
  },
  {
    name: 'sync',
    description: 'start, watch and cancel syncs',
    async register(program) {
      const { registerSyncCommands } = await import('./cli/sync.ts');
      registerSyncCommands(program);
    },
  },
  {
    name: 'user',
    description: 'accounts',
    async register(program) {
      const { registerUserCommands } = await import('./cli/user.ts');
      registerUserCommands(program);
    },
  },
  {
    name: 'mail',
    description: 'look at mails',
    async register(program) {
      const { registerEmailCommands } = await import('./cli/email.ts');
      registerEmailCommands(program);
    },
  },
  {
    name: 'openapi',
    description: 'write the OpenAPI document',
    async register(program) {
      const { registerOpenApiCommand } = await import('./cli/openapi.ts');
      registerOpenApiCommand(program);
    },
  },
  {
    name: 'demo',
    description: 'show the product: everything it needs, a simulated panel, one full sync',
    async register(program) {
      const { registerDemoCommand } = await import('./cli/demo/demo.ts');
      registerDemoCommand(program);
    },
  },
  {
    name: 'doctor',
    description: 'what is configured, from where, and whether it can be reached',
    async register(program) {
      const { registerDoctorCommand } = await import('./cli/doctor/doctor.ts');
      registerDoctorCommand(program);
    },
  },
];

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest ? String(manifest.version) : '0';
}

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('nodebyte')
    .description('Keeps PostgreSQL in step with a Pterodactyl panel')
    .version(version())
    .showHelpAfterError('(--help lists the options)');
  const words = argv.filter((word) => !word.startsWith('-'));
  const wanted = words[0] === 'help' ? words[1] : words[0];
  // `… | head` closes our output: nothing to report. The demo has services to stop first, and sees to it itself.
  if (wanted !== 'demo') {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(0);
      throw error;
    });
  }
  for (const group of GROUPS) {
    if (group.name === wanted) await group.register(program);
    else program.command(group.name).description(group.description);
  }
  await program.parseAsync([...argv], { from: 'user' });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const known = error instanceof ConfigError || error instanceof EmbeddedError;
  console.error(known ? error.message : error);
  process.exitCode = error instanceof ConfigError ? 78 : 1;
}
