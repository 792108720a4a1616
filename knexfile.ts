/** For knex's own command line; the product migrates through `src/store/db/migrations.ts`. */
import { fileURLToPath } from 'node:url';
import type { Knex } from 'knex';

const config: Knex.Config = {
  client: 'pg',
  connection: process.env['DATABASE_URL'] ?? '',
  migrations: {
    directory: fileURLToPath(new URL('./migrations/', import.meta.url)),
    extension: 'ts',
    loadExtensions: ['.ts'],
  },
};

export default config;
