/** `nodebyte`: the command line. A group of commands is loaded when it is called, so that help is quick. */
import { Command } from 'commander';
import type { CommandIo } from './cli/support/command.ts';
import { ConfigError } from './config.ts';
import { EmbeddedError } from './embedded/process.ts';
import { EXIT } from './process.ts';
import { packageVersion } from './version.ts';

interface Group {
  name: string;
  description: string;
  /** @param io default: the process */
  register(program: Command, io?: CommandIo): Promise<void>;
}

/** All commands, by their first word. */
export const GROUPS: readonly Group[] = [
  {
    name: 'db',
    description: 'create, migrate and look at the database',
    async register(program, io) {
      const { registerDbCommands } = await import('./cli/db/db.ts');
      registerDbCommands(program, { io });
    },
  },
  {
    name: 'sync',
    description: 'start, watch and cancel syncs',
    async register(program, io) {
      const { registerSyncCommands } = await import('./cli/sync.ts');
      registerSyncCommands(program, io);
    },
  },
  {
    name: 'runs',
    description: 'runs of every kind, and retries of failed ones',
    async register(program, io) {
      const { registerRunCommands } = await import('./cli/runs.ts');
      registerRunCommands(program, io);
    },
  },
  {
    name: 'user',
    description: 'accounts',
    async register(program, io) {
      const { registerUserCommands } = await import('./cli/user.ts');
      registerUserCommands(program, io);
    },
  },
  {
    name: 'setup',
    description: 'when the first-run set-up needs no sign-in',
    async register(program, io) {
      const { registerSetupCommands } = await import('./cli/setup.ts');
      registerSetupCommands(program, io);
    },
  },
  {
    name: 'keys',
    description: 'the key of stored secrets',
    async register(program, io) {
      const { registerKeysCommands } = await import('./cli/keys.ts');
      registerKeysCommands(program, io);
    },
  },
  {
    name: 'audit',
    description: 'security events',
    async register(program, io) {
      const { registerAuditCommands } = await import('./cli/audit.ts');
      registerAuditCommands(program, io);
    },
  },
  {
    name: 'email',
    description: 'look at emails',
    async register(program, io) {
      const { registerEmailCommands } = await import('./cli/email.ts');
      registerEmailCommands(program, io);
    },
  },
  {
    name: 'webhook',
    description: 'webhooks, their deliveries and tests',
    async register(program, io) {
      const { registerWebhookCommands } = await import('./cli/webhook.ts');
      registerWebhookCommands(program, io);
    },
  },
  {
    name: 'hytale',
    description: 'Hytale accounts and game sessions',
    async register(program, io) {
      const { registerHytaleCommands } = await import('./cli/hytale.ts');
      registerHytaleCommands(program, io);
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
    async register(program, io) {
      const { registerDemoCommand } = await import('./cli/demo/demo.ts');
      registerDemoCommand(program, io);
    },
  },
  {
    name: 'doctor',
    description: 'what is configured, from where, and whether it can be reached',
    async register(program, io) {
      const { registerDoctorCommand } = await import('./cli/doctor/doctor.ts');
      registerDoctorCommand(program, io);
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

// A test imports the table of the commands.
if (import.meta.main) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    // Any other error is a defect: its stack is wanted.
    const known = error instanceof ConfigError || error instanceof EmbeddedError;
    console.error(known ? error.message : error);
    process.exitCode = error instanceof ConfigError ? EXIT.config : EXIT.failed;
  }
}
