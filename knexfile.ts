/** For knex's own command line, which can apply migrations but not roll them back; `npm run db:migrate` checks more. */
import { fileURLToPath } from 'node:url';
import type { Knex } from 'knex';
import { loadDatabaseConfig } from './src/config.ts';
import { BOOK } from './src/store/db/migration-book.ts';

const config: Knex.Config = {
  client: 'pg',
  connection: loadDatabaseConfig().databaseUrl?.reveal() ?? '',
  migrations: {
    directory: fileURLToPath(new URL('./migrations/', import.meta.url)),
    tableName: BOOK,
    extension: 'ts',
    loadExtensions: ['.ts'],
  },
};

export default config;
