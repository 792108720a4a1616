/** What the account services work with. Each function names the part that it needs. */
import type { Logger } from 'pino';
import type { Db } from '../../store/db/db.ts';
import type { EmailStore } from '../../store/email/email-store.ts';
import type { Settings } from '../settings/settings.ts';
import type { Tokens } from './access-tokens.ts';

export interface AccountDeps {
  db: Db;
  emails: EmailStore;
  settings: Pick<Settings, 'stored'>;
  tokens: Tokens;
  log: Logger;
}
