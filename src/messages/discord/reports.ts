/** Reports of the service about itself: how a sync ended, and which settings were changed. */
import type { EventData, EventValue } from '../../domain/events.ts';
import { type Embed, MAX_VALUE } from './embed.ts';
import { codeMark, cut, listOf, plain, shownError } from './text.ts';

const GREEN = 3_066_993;
const RED = 15_158_332;
const YELLOW = 16_776_960;

/** Code points of a line of a list, and of the name of a setting. */
const MAX_LINE = 300;
const MAX_KEY = 100;

const syncReport =
  (title: string, word: string, color: number, status: string) =>
  (data: EventData): Embed => ({
    title: `🔄 Sync Operation ${title}`,
    description: `Panel synchronization has ${word}`,
    color,
    fields: [
      { name: 'Status', value: status, inline: true },
      { name: 'Duration', value: secondsOf(data['duration']), inline: true },
      { name: 'Items', value: itemsOf(data), inline: true },
      { name: 'Error', value: typeof data['error'] === 'string' ? shownError(data['error']) : '', inline: false },
      { name: 'Warnings', value: warningsOf(data), inline: false },
    ],
    footer: 'NodeByte Sync System',
  });

const secondsOf = (value: EventValue | undefined): string =>
  typeof value === 'number' ? `${value.toFixed(2)} seconds` : '';

function itemsOf({ items_total: total, items_synced: synced, items_failed: failed }: EventData): string {
  if (typeof total !== 'number' || typeof synced !== 'number') return '';
  return `${synced} / ${total} (${typeof failed === 'number' ? failed : 0})`;
}

function warningsOf({ warnings, warnings_total: total }: EventData): string {
  if (!Array.isArray(warnings)) return '';
  const lines = warnings
    .filter((warning) => typeof warning === 'string')
    .map((warning) => shownError(warning))
    .filter((warning) => warning !== '')
    .map((warning) => `• ${cut(warning, MAX_LINE)}`);
  if (lines.length === 0) return '';
  return listOf(lines, MAX_VALUE, Math.max(lines.length, typeof total === 'number' ? total : 0));
}

function settingsReport(data: EventData, at: Date): Embed {
  const changes = Array.isArray(data['changes']) ? data['changes'] : undefined;
  const lines = (changes ?? []).map(changeLine);
  return {
    title: '⚙️ System Settings Updated',
    description: 'Administrator has updated system configuration',
    color: GREEN,
    fields: [
      { name: 'Modified By', value: typeof data['by'] === 'string' ? plain(data['by']) : '', inline: true },
      { name: 'Total Changes', value: changes === undefined ? '' : `${changes.length} setting(s)`, inline: true },
      { name: 'Changed Settings', value: listOf(lines, MAX_VALUE), inline: false },
      { name: 'Updated At', value: at.toISOString(), inline: true },
    ],
    footer: 'NodeByte System',
  };
}

function changeLine(change: EventValue): string {
  const { key, before, after } = isRecord(change) ? change : {};
  return `• **${cut(plain(wordOf(key)) || '?', MAX_KEY)}**: ${codeMark(wordOf(before))} → ${codeMark(wordOf(after))}`;
}

const isRecord = (value: EventValue): value is EventData =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function wordOf(value: EventValue | undefined): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** By event. */
export const REPORTS: Readonly<Record<string, (data: EventData, at: Date) => Embed>> = {
  'sync.completed': syncReport('Completed Successfully', 'completed successfully', GREEN, '✅ Completed Successfully'),
  'sync.failed': syncReport('Failed', 'failed', RED, '❌ Failed'),
  'sync.cancelled': syncReport('Cancelled', 'cancelled', YELLOW, '⚠️ Cancelled'),
  'settings.updated': settingsReport,
};
