/** `nodebyte`: the command line. A group of commands is loaded when it is called, so that help is quick. */
import { Command } from 'commander';
import { ConfigError } from './config.ts';
import { EmbeddedError } from './embedded/process.ts';
import { EXIT } from './process.ts';
import { packageVersion } from './version.ts';

interface Group {
  name: string;
  description: string;
  register(program: Command): Promise<void>;
}

const GROUPS: readonly Group[] = [
  {
    name: 'db',
    description: 'create, migrate and look at the database',
    async register(program) {
      const { registerDbCommands } = await import('./cli/db/db.ts');
      registerDbCommands(program);
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
    name: 'setup',
    description: 'when the first-run set-up needs no sign-in',
    async register(program) {
      const { registerSetupCommands } = await import('./cli/setup.ts');
      registerSetupCommands(program);
    },
  },
  {
    name: 'keys',
    description: 'the key of stored secrets',
    async register(program) {
      const { registerKeysCommands } = await import('./cli/keys.ts');
      registerKeysCommands(program);
    },
  },
  {
    name: 'audit',
    description: 'security events',
    async register(program) {
      const { registerAuditCommands } = await import('./cli/audit.ts');
      registerAuditCommands(program);
    },
  },
  {
    name: 'email',
    description: 'look at emails',
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
    description: 'show the product: its services, a simulated panel, one full sync',
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

/** `… | head` closes our output: no error. */
function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    throw error;
  });
}

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('nodebyte')
    .description('Keeps PostgreSQL in step with a Pterodactyl panel')
    .version(packageVersion())
    .showHelpAfterError('(--help lists the options)');
  const words = argv.filter((word) => !word.startsWith('-'));
  const wanted = words[0] === 'help' ? words[1] : words[0];
  // The demo must stop its services first, and handles a closed output itself.
  if (wanted !== 'demo') endWithReader();
  for (const group of GROUPS) {
    if (group.name === wanted) await group.register(program);
    else program.command(group.name).description(group.description);
  }
  await program.parseAsync([...argv], { from: 'user' });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  // Any other error is a defect: its stack is wanted.
  const known = error instanceof ConfigError || error instanceof EmbeddedError;
  console.error(known ? error.message : error);
  process.exitCode = error instanceof ConfigError ? EXIT.config : EXIT.failed;
}
