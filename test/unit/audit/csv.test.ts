import { expect, test } from 'vitest';
import { csvLine } from '../../../src/domain/csv.ts';

test.each([
  ['=1+1', `'=1+1`],
  ['+49', `'+49`],
  ['-1', `'-1`],
  ['@SUM(A1)', `'@SUM(A1)`],
  ['\t=1', `'\t'=1`],
  ['\r=1', `'\r'=1`],
  ['\n=1', `'\n'=1`],
  ['\tplain', `'\tplain`],
  ['  =1', `  '=1`],
  ['"=1', `"'=1`],
  [`' "=1`, `' "'=1`],
  ['\u00a0=1', `\u00a0'=1`],
  ['\ufeff=1', `\ufeff'=1`],
  ['\u200b=1', `\u200b'=1`],
  ['＝1', `'＝1`],
  ['a;=1', `a;'=1`],
  ['a","=1', `a","'=1`],
  ['a\n=1', `a\n'=1`],
  ['a\t"@x', `a\t"'@x`],
  ['=-@', `'=-@`],
])('no cell begins as a formula: %j', (text, cell) => {
  const line = csvLine([text, 'next']);
  expect(line).toBe(`"${cell.replaceAll('"', '""')}","next"\r\n`);
});

test.each([
  '',
  'plain',
  'a=b',
  'user-1',
  'ada@example.com',
  '{"before":{"delta":-1}}',
  'Zoë, 名前 "x"',
  '2026-01-01T00:00:00Z',
])('%j stays as it is', (text) => {
  expect(csvLine([text])).toBe(`"${text.replaceAll('"', '""')}"\r\n`);
});
