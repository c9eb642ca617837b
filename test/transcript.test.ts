import { expect, test } from 'vitest';
import { lineWith, SeenIds, transcriptsIn } from './e2e/support/transcript.ts';

test('commands of console blocks, with what stands under them', () => {
  const markdown = [
    '# Title',
    '```sh',
    '# a comment',
    '$ not this one',
    '```',
    '## Part one',
    '```console',
    '$ first --flag',
    'one',
    '',
    '  two $ 2',
    '$ second',
    '$ third',
    '…',
    '```',
    '',
  ].join('\n');
  expect(transcriptsIn(markdown)).toEqual([
    { heading: 'Part one', command: 'first --flag', output: 'one\n\n  two $ 2\n' },
    { heading: 'Part one', command: 'second', output: '' },
    { heading: 'Part one', command: 'third', output: '…\n' },
  ]);
  expect(() => transcriptsIn('## A\n```console\nprinted\n$ x\n```\n')).toThrow('under "A" does not begin');
});

const UUID = 'ff56afd9-6949-46c4-87d5-26c33a008c17';
const TRACE = '3b70a9ae6b9b7f071701408fc64f4d75';

test.each<[string, string, string, boolean]>([
  ['the same', 'a (b) $1.\n', 'a (b) $1.\n', true],
  ['a character that differs', 'a.b\n', 'axb\n', false],
  ['more than is shown', 'a\n', 'a\nb\n', false],
  ['less than is shown', 'a\nb\n', 'a\n', false],
  ['nothing', '', '', true],
  ['nothing where something is shown', 'a\n', '', false],
  ['lines left out', 'a\n…\nd\n', 'a\nb\nc\nd\n', true],
  ['lines left out where none are', 'a\n…\nb\n', 'a\nb\n', false],
  ['text left out of a line', 'a … c\n', 'a b b c\n', true],
  ['text left out does not go on in the next line', 'a …\n', 'a b\nc\n', false],
  ['times and durations', '2026-01-02T03:04:05.678Z 0.46 s\n', '2027-11-12T13:14:15Z 312 ms\n', true],
  ['no duration', 'after 0.46 s\n', 'after none\n', false],
  ['other numbers', '2 letters, 544 bytes\n', '3 letters, 544 bytes\n', false],
  ['ids', `${UUID} ${TRACE}\n`, `${UUID.replaceAll('4', '5')} ${TRACE.replaceAll('b', '0')}\n`, true],
  ['an id of another kind', `${TRACE}\n`, `${UUID}\n`, false],
  ['the same id twice', `${TRACE} tr-${TRACE}\n`, `${'a'.repeat(32)} tr-${'a'.repeat(32)}\n`, true],
  ['one id in place of two', `${TRACE} ${'b'.repeat(32)}\n`, `${TRACE} ${TRACE}\n`, true],
  ['two ids in place of one', `${TRACE} ${TRACE}\n`, `${'a'.repeat(32)} ${'b'.repeat(32)}\n`, false],
])('%s', (_, output, printed, matches) => {
  expect(new SeenIds().matches(output, printed)).toBe(matches);
});

test('an id is what it was before, and goes into commands', () => {
  const ids = new SeenIds();
  const here = UUID.replaceAll('f', '0');
  expect(ids.inCommand(`show ${UUID}`)).toBe(`show ${UUID}`);
  expect(ids.matches(`a ${UUID}\n`, `b ${here}\n`)).toBe(false);
  expect(ids.inCommand(`show ${UUID}`)).toBe(`show ${UUID}`);
  expect(ids.matches(`a ${UUID}\n`, `a ${here}\n`)).toBe(true);
  expect(ids.inCommand(`show ${UUID} --all`)).toBe(`show ${here} --all`);
  expect(ids.matches(`b ${UUID}\n`, `b ${here}\n`)).toBe(true);
  expect(ids.matches(`b ${UUID}\n`, `b ${UUID}\n`)).toBe(false);
});

test.each<[string, string | undefined]>([
  ['a\n{"msg":"x"}\nb\n', '{"msg":"x"}\n'],
  ['{"msg":"x"}\n{"msg":"x"} again\n', '{"msg":"x"}\n'],
  // It is still being written.
  ['a\n{"msg":"x"}', undefined],
  ['a "xx"\n', undefined],
  ['', undefined],
])('the line with "x" of %j', (printed, line) => {
  expect(lineWith(printed, '"x"')).toBe(line);
});
