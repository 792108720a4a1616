/**
 * `/__sim/*`: JSON calls by which another process controls a running catcher. A fault is `{ fault, times? }`, one or an array.
 */
import { z } from 'zod';
import { type EmailCatcher, SMTP_STEPS } from './contract.ts';

const FaultSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('status'),
    status: z.int().min(400).max(599),
    name: z.string().optional(),
    message: z.string().optional(),
    retryAfter: z.union([z.number(), z.string()]).optional(),
  }),
  z.object({ kind: z.enum(['hang', 'reset', 'accept-hang', 'accept-reset', 'truncate', 'html', 'smtp-drop']) }),
  z.object({ kind: z.literal('page'), status: z.int().min(200).max(599) }),
  z.object({
    kind: z.literal('smtp-reply'),
    at: z.enum(SMTP_STEPS),
    code: z.int().min(400).max(599),
    text: z.string().optional(),
  }),
]);
const EntrySchema = z.object({ fault: FaultSchema, times: z.int().positive().max(10_000).default(1) });
const EntriesSchema = z.union([z.array(EntrySchema), EntrySchema.transform((one) => [one])]);

/** Answers one call. */
export function handleAdmin(
  catcher: EmailCatcher,
  clearFaults: () => void,
  call: { method: string; path: string; body: string },
): { status: number; body: unknown } {
  try {
    switch (`${call.method} ${call.path}`) {
      case 'GET /__sim/info':
        return { status: 200, body: { url: catcher.url, smtpUrl: catcher.smtpUrl, apiKey: catcher.apiKey } };
      case 'GET /__sim/mails':
        return { status: 200, body: { mails: catcher.emails() } };
      case 'DELETE /__sim/mails':
        catcher.clear();
        return { status: 200, body: {} };
      case 'POST /__sim/faults':
        for (const { fault, times } of EntriesSchema.parse(JSON.parse(call.body))) catcher.fault(fault, times);
        return { status: 200, body: {} };
      case 'DELETE /__sim/faults':
        clearFaults();
        return { status: 200, body: {} };
      default:
        return { status: 404, body: { error: 'unknown call' } };
    }
  } catch (error) {
    return { status: 400, body: { error: error instanceof Error ? error.message : String(error) } };
  }
}
