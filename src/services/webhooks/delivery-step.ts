/** What one step of a delivery is given, and what it says. */
import type { DeliveryStatus } from '../../domain/webhooks.ts';
import type { Target } from '../../store/webhooks/attempt-store.ts';

/** What the workflow does next. */
export type DeliveryStep =
  | { state: 'done'; status: Exclude<DeliveryStatus, 'queued'>; reason: string | null }
  | { state: 'wait'; ms: number; why: string };

/** An attempt that may be sent now. */
export interface Claim {
  state: 'send';
  deliveryId: string;
  attemptId: string;
  target: Target;
}
