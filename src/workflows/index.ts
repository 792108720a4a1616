export { deliverWebhook } from './deliver-webhook.ts';
export { hytaleAccount } from './hytale/account.ts';
export { hytaleLogin } from './hytale/login.ts';
export { hytaleSession } from './hytale/session.ts';
export { maintenance } from './maintenance.ts';
export { panelSync } from './panel-sync/panel-sync.ts';
export { scheduledSync } from './scheduled-sync.ts';
export { sendEmail } from './send-email.ts';
