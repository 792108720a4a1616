/** How the relay starts the workflow of an email: the handler that the worker gives to it (ADR 9). */
import { EMAIL_OUTBOX_KIND } from '../../store/email/email-store.ts';
import type { DispatchTable } from '../../temporal/outbox-relay.ts';
import { sendEmailId } from '../../workflows/contract.ts';

export const EMAIL_DISPATCH: DispatchTable = {
  [EMAIL_OUTBOX_KIND]: ({ payload }) => {
    const emailId = String(payload['emailId']);
    return { workflowType: 'sendEmail', workflowId: sendEmailId(emailId), args: [{ emailId }], staticSummary: 'Email' };
  },
};
