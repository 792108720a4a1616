/** Lines of a console as a Hytale server prints them: repeatable, with colours, repeats, empty and very long lines. */
import { createRandom } from '../world/random.ts';

const LOGGERS = ['HytaleServer', 'World|default', 'Universe', 'PlayerSystems', 'AssetModule', 'NetworkModule'] as const;
const TEXTS = [
  'Player Kweebec joined the world',
  'Player Trork left the world',
  'Saving world default (1024 chunks)',
  'Generated 16 chunks in 12ms',
  'Loaded asset pack Hytale:Hytale',
  "Can't keep up! Tick took 71ms",
  'Refreshed the session token',
  'Überraschung im Wald ✓ 🌲',
] as const;
const COLOURS = ['\u001b[32m', '\u001b[33m', '\u001b[31;1m'] as const;
const RESET = '\u001b[0m';

const two = (value: number): string => String(value).padStart(2, '0');
const clock = (second: number): string =>
  `${two(Math.floor(second / 3_600) % 24)}:${two(Math.floor(second / 60) % 60)}:${two(second % 60)}`;

/** A source of lines: of one seed, always the same lines. */
export function createLines(seed: number): () => string {
  const random = createRandom(seed ^ 0x10c5);
  let count = 0;
  let last = '';
  return () => {
    count += 1;
    const dice = random.int(100);
    if (dice < 10) return last;
    if (dice < 14) return '';
    const text = `[2026/01/01 ${clock(count)}   INFO] [${random.pick(LOGGERS)}] ${random.pick(TEXTS)}`;
    if (dice < 16) last = `${text} ${random.text(2_000 + random.int(8_000))}`;
    else if (dice < 18) last = `Loading 10%\rLoading ${random.int(100)}%`;
    else if (dice < 40) last = `${random.pick(COLOURS)}${text}${RESET}`;
    else last = text;
    return last;
  };
}
