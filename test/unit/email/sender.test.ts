import { describe, expect, test } from 'vitest';
import { parseSender, senderText } from '../../../src/domain/email-sender.ts';

describe('a sender', () => {
  test.each([
    ['NodeByte <noreply@nodebyte.host>', 'NodeByte', 'noreply@nodebyte.host', 'NodeByte <noreply@nodebyte.host>'],
    ['  a@b.example ', '', 'a@b.example', 'a@b.example'],
    ['<a@b.example>', '', 'a@b.example', 'a@b.example'],
    [
      'Example Hosting, Inc. <a@b.example>',
      'Example Hosting, Inc.',
      'a@b.example',
      '"Example Hosting, Inc." <a@b.example>',
    ],
    [
      '"Example Hosting, Inc." <a@b.example>',
      'Example Hosting, Inc.',
      'a@b.example',
      '"Example Hosting, Inc." <a@b.example>',
    ],
    ['"A \\"B\\" C" <a@b.example>', 'A "B" C', 'a@b.example', '"A \\"B\\" C" <a@b.example>'],
    ['Grüße <a@b.example>', 'Grüße', 'a@b.example', 'Grüße <a@b.example>'],
    ['X <a@bücher.example>', 'X', 'a@xn--bcher-kva.example', 'X <a@xn--bcher-kva.example>'],
    ['root@post', '', 'root@post', 'root@post'],
  ])('%j is read once and written again (M-3)', (text, name, address, written) => {
    const sender = parseSender(text);
    expect(sender).toEqual({ name, address });
    expect(sender && senderText(sender)).toBe(written);
    expect(parseSender(written)).toEqual({ name, address });
  });

  test.each([
    '',
    'Example Hosting',
    'Example Hosting <>',
    'Example <a@b.example> <c@d.example>',
    'a@b.example, c@d.example',
    'Example, a@b.example',
    'A <a b@c.example>',
    'A <jürgen@c.example>',
    'A\r\nBcc: x@y.example <a@b.example>',
    'A <a@b.example',
    'A <@b.example>',
    'A <a@>',
  ])('%j is none (M-3)', (text) => {
    expect(parseSender(text)).toBeUndefined();
  });
});
