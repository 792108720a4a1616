/**
 * `Hytale` over the workflows. A change is written to the row first, with its audit event; then the workflow is asked to act,
 * and its answer is waited for. If no answer comes, the row still says what is wanted, and the watch takes it up.
 */
import { disconnect, profiles, refreshAccount, selectProfile } from './account-requests.ts';
import type { HytaleServiceDeps } from './ask.ts';
import type { Hytale } from './hytale.ts';
import { cancelLogin, pollLogin, showLogin, startLogin } from './login-requests.ts';
import {
  chosenSession,
  endOneSession,
  linkSession,
  newSession,
  refreshSession,
  renewSession,
  sessionOf,
} from './session-requests.ts';

export function createHytale(deps: HytaleServiceDeps): Hytale {
  return {
    startLogin: (accountId, who) => startLogin(deps, accountId, who),
    pollLogin: (deviceCode, accountId) => pollLogin(deps, deviceCode, accountId),
    login: (loginId) => showLogin(deps, loginId),
    cancelLogin: (loginId, who) => cancelLogin(deps, loginId, who),
    refreshAccount: (accountId, who) => refreshAccount(deps, accountId, who),
    profiles: (accountId) => profiles(deps, accountId),
    selectProfile: (accountId, profileUuid, who) => selectProfile(deps, accountId, profileUuid, who),
    disconnect: (accountId, who) => disconnect(deps, accountId, who),
    newSession: (choice, who) => newSession(deps, choice, who),
    refreshSession: (choice, who) => refreshSession(deps, choice, who),
    endSession: async (choice, who) => endOneSession(deps, (await chosenSession(deps, choice)).id, who),
    renewSession: (sessionId, options, who) => renewSession(deps, sessionId, options, who),
    linkSession: (sessionId, serverId, who) => linkSession(deps, sessionId, serverId, who),
    endSessionById: async (sessionId, who) => endOneSession(deps, (await sessionOf(deps, sessionId)).id, who),
  };
}
