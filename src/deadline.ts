/** Waiting with a limit. */

/**
 * Waits at most `timeoutMs` milliseconds for `work`, which itself goes on after that.
 * @throws {Error} when the time is over; otherwise whatever `work` rejects with.
 */
export async function withDeadline<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${timeoutMs} ms`)), timeoutMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
