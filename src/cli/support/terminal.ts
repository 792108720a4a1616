/** What commands write for people: colours and a progress bar on a terminal, plain lines anywhere else. */
import type { Writable } from 'node:stream';
import { styleText } from 'node:util';

/** A stream to which a command writes; the process's own ones, or those of a test. */
export type OutputStream = Writable & { isTTY?: boolean; columns?: number };

export interface Terminal {
  /** True when lines can be rewritten. */
  readonly live: boolean;
  line(text?: string): void;
  good(text: string): string;
  bad(text: string): string;
  warn(text: string): string;
  dim(text: string): string;
  strong(text: string): string;
  /** The progress of one thing. Off a terminal it prints whole lines, and few. */
  progress(): Progress;
}

export interface Progress {
  /** @param percentage 0 to 100 */
  update(percentage: number, label: string): void;
  /** Ends the line; further updates are ignored. */
  done(): void;
}

const BAR_WIDTH = 30;
/** Off a terminal: minimum time between two lines of the same percentage. */
const PLAIN_EVERY_MS = 2_000;

/** Text that came from elsewhere, without control characters: they could move the cursor or recolour the terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it removes
export const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');

/** Writes to `stream`; colours only when it is a terminal and NO_COLOR is not set. */
export function createTerminal(stream: OutputStream): Terminal {
  const live = stream.isTTY === true;
  const style = (format: Parameters<typeof styleText>[0], text: string): string =>
    live ? styleText(format, text, { stream }) : text;
  return {
    live,
    line: (text = '') => void stream.write(`${text}\n`),
    good: (text) => style('green', text),
    bad: (text) => style('red', text),
    warn: (text) => style('yellow', text),
    dim: (text) => style('dim', text),
    strong: (text) => style('bold', text),
    progress() {
      let open = true;
      let shown = { label: '', share: -1, at: 0 };
      return {
        update(percentage, label) {
          if (!open) return;
          const share = Math.min(100, Math.max(0, Math.floor(percentage)));
          const clean = printable(label);
          if (!live) {
            // A log file is read afterwards: each label once, and a sign of life while it lasts.
            const now = Date.now();
            if (clean === shown.label || (share === shown.share && now - shown.at < PLAIN_EVERY_MS)) return;
            shown = { label: clean, share, at: now };
            stream.write(`  ${String(share).padStart(3)} %  ${clean}\n`);
            return;
          }
          const filled = Math.round((share / 100) * BAR_WIDTH);
          const bar = `${style('green', '█'.repeat(filled))}${style('dim', '░'.repeat(BAR_WIDTH - filled))}`;
          const room = Math.max(10, (stream.columns || 80) - BAR_WIDTH - 12);
          stream.write(`\r  ${bar} ${String(share).padStart(3)} %  ${clean.slice(0, room)}\u001b[K`);
        },
        done() {
          if (open && live) stream.write('\n');
          open = false;
        },
      };
    },
  };
}

/** Columns wide enough for their cells; the first is aligned left, the others right. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [header, ...rows];
  const widths = header.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)));
  return all.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '),
  );
}
