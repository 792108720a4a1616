/** Stored secrets that no key of this process opens. They count as not set, and a person must act. */
import type { Logger } from 'pino';
import type { Settings } from './settings.ts';

/** Names them in the log. */
export async function warnAboutUnreadable(settings: Settings, log: Logger): Promise<void> {
  const { unreadable } = (await settings.known()).stored;
  if (unreadable.length === 0) return;
  log.warn({ unreadable }, 'stored secrets cannot be decrypted and count as not set: check ENCRYPTION_KEY');
}
