/** For knex's own command line; the product migrates through `src/store/db/migrations.ts`. */
import { fileURLToPath } from 'node:url';
import type { Knex } from 'knex';
import { loadDatabaseConfig } from './src/config.ts';

const config: Knex.Config = {
  client: 'pg',
  connection: loadDatabaseConfig().databaseUrl?.reveal() ?? '',
  migrations: {
    directory: fileURLToPath(new URL('./migrations/', import.meta.url)),
    extension: 'ts',
    loadExtensions: ['.ts'],
  },
};

export default config;
