import { describe, expect, test } from 'vitest';
import { bodyCodeOf } from '../../../src/domain/errors.ts';
import { outageResult, resultError } from '../../../src/services/hytale/upstream-error.ts';
import type { HytaleResult } from '../../../src/workflows/contract.ts';

/** Status, code and sentence of the body, as the contract has them. */
const EXPECTED: Record<Exclude<HytaleResult, 'none' | 'done'>, [number, string, string]> = {
  refused: [400, 'BAD_REQUEST', 'Invalid request format or missing required fields'],
  reauth_required: [401, 'REAUTH_REQUIRED', 'The Hytale account must be signed in again'],
  session_limit: [403, 'SESSION_LIMIT_EXCEEDED', 'Session limit reached for this account'],
  forbidden: [403, 'FORBIDDEN', 'Valid authentication but insufficient permissions'],
  no_profile: [404, 'NOT_FOUND', 'Resource not found (invalid profile UUID or account)'],
  gone: [404, 'SESSION_NOT_FOUND', 'No game session found for account and profile'],
  limited_rate: [429, 'RATE_LIMITED', 'Too many requests. Please retry after a delay.'],
  server_error: [502, 'HYTALE_SERVER_ERROR', 'Hytale service error. Please retry later.'],
  unavailable: [503, 'SERVICE_UNAVAILABLE', 'Hytale service is currently unavailable. Please retry later.'],
  unreached: [502, 'HYTALE_ERROR', 'An error occurred while communicating with Hytale'],
  misconfigured: [502, 'INTEGRATION_ERROR', 'Hytale does not accept this service as a client'],
  invalid_tokens: [502, 'INTEGRATION_ERROR', 'Hytale sent tokens that are not valid'],
};
const RESULTS = Object.keys(EXPECTED) as (keyof typeof EXPECTED)[];

describe('errors of what a call of Hytale came to', () => {
  test.each(RESULTS)('%s has the status, code and sentence of the contract, and says why', (result) => {
    const error = resultError({ result, why: 'The reason', retryAfterMs: 7_000 });
    expect(error && [error.spec.status, bodyCodeOf(error.code), error.message]).toEqual(EXPECTED[result]);
    expect(error).toMatchObject({ hint: 'The reason', retryAfterMs: 7_000 });
  });

  test('what was done, or was not due, is no error', () => {
    expect(resultError({ result: 'done', why: '' })).toBeUndefined();
    expect(resultError({ result: 'none', why: 'x' })).toBeUndefined();
  });

  test('without a reason or a wait, the error has none', () => {
    expect(resultError({ result: 'gone', why: '' })).toMatchObject({ hint: undefined, retryAfterMs: undefined });
  });

  test.each([
    [429, 'limited_rate'],
    [500, 'server_error'],
    [502, 'server_error'],
    [504, 'server_error'],
    [503, 'unavailable'],
    [403, 'unreached'],
    [302, 'unreached'],
    [200, 'unreached'],
    [null, 'unreached'],
  ])('an outage with status %s is %s', (httpStatus, result) => {
    expect(outageResult({ httpStatus })).toBe(result);
  });
});
