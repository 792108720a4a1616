/** The environments of Hytale and their hosts. Accounts, sessions and tokens of one do not exist in the other. */

export const HYTALE_ENVIRONMENTS = ['production', 'staging'] as const;
export type HytaleEnvironment = (typeof HYTALE_ENVIRONMENTS)[number];

/** Where the services of Hytale are. */
export interface HytaleHosts {
  /** Origin of the OAuth host. */
  oauth: string;
  /** Origin of the host that knows the profiles of an account. */
  accountData: string;
  /** Origin of the host that gives game sessions. */
  sessions: string;
}

/** The documented hosts; those of staging have the other domain. */
export const HYTALE_HOSTS: Readonly<Record<HytaleEnvironment, HytaleHosts>> = {
  production: {
    oauth: 'https://oauth.accounts.hytale.com',
    accountData: 'https://account-data.hytale.com',
    sessions: 'https://sessions.hytale.com',
  },
  staging: {
    oauth: 'https://oauth.accounts.arcanitegames.ca',
    accountData: 'https://account-data.arcanitegames.ca',
    sessions: 'https://sessions.arcanitegames.ca',
  },
};

/** The public client of game server providers, and what it asks for: `offline` yields the refresh token. */
export const HYTALE_CLIENT_ID = 'hytale-server';
export const HYTALE_SCOPE = 'openid offline auth:server';
