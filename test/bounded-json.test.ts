import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DEEPEST_JSON, LARGEST_JSON, isNestedDeeper, readBoundedJson } from '../src/bounded-json.ts';

const execFileAsync = promisify(execFile);

const read = (text: string, isCut = false) => readBoundedJson(Buffer.from(text), { isCut });
const value = (json: unknown) => ({ kind: 'value', value: json });

/** Lists in lists, and objects in objects, with brackets in texts that count for nothing. */
function nested(levels: number): string {
  const open = Array.from({ length: levels }, (_, level) => (level % 2 === 0 ? '["[{\\"[",' : '{"a[":'));
  return `${open.join('')}0${open
    .map((each) => (each.startsWith('[') ? ']' : '}'))
    .toReversed()
    .join('')}`;
}

test('reads what JSON.parse reads', () => {
  fc.assert(
    fc.property(fc.oneof(fc.json({ maxDepth: 5 }), fc.string()), (text) => {
      let parsed: unknown;
      try {
        parsed = value(JSON.parse(text));
      } catch {
        parsed = { kind: 'no JSON' };
      }
      expect(read(text)).toEqual(parsed);
    }),
  );
});

describe('depth', () => {
  test('up to the limit is read, and no further', () => {
    expect(read(nested(DEEPEST_JSON))).toMatchObject({ kind: 'value' });
    expect(read(nested(DEEPEST_JSON + 1))).toEqual({
      kind: 'unread',
      problem: `JSON that is nested more than ${DEEPEST_JSON} levels deep`,
    });
  });

  test('is not what stands side by side', () => {
    expect(read(`[${'[],{},'.repeat(10_000)}[]]`)).toMatchObject({ kind: 'value' });
    expect(isNestedDeeper(Buffer.from('[]'.repeat(1_000)), 1)).toBe(false);
    expect(isNestedDeeper(Buffer.from('[[]]'), 1)).toBe(true);
  });
});

test('size is told, and not parsed', () => {
  expect(read(' '.repeat(LARGEST_JSON - 1) + '1')).toEqual(value(1));
  expect(read(' '.repeat(LARGEST_JSON) + '1')).toEqual({
    kind: 'unread',
    problem: `JSON of ${LARGEST_JSON + 1} bytes, more than the ${LARGEST_JSON} that are read`,
  });
});

describe('cut off', () => {
  test.each([
    ['in a text', '{"error_code":"X","message":"long ', { error_code: 'X', message: 'long ' }],
    ['in an escape', '{"message":"a\\', { message: 'a' }],
    ['in a longer one', '{"message":"a\\u00e', { message: 'a' }],
    ['behind one', '{"message":"a\\u00e9\\"', { message: 'aé"' }],
    ['in a list in an object', '{"detail":[{"msg":"x"},{"msg":"y', { detail: [{ msg: 'x' }, { msg: 'y' }] }],
    ['behind a text', '{"detail":"x"', { detail: 'x' }],
  ])('%s, what was there is read', (_, text, json) => {
    expect(read(text, true)).toEqual(value(json));
    expect(read(text)).toEqual({ kind: 'no JSON' });
  });

  test('anywhere, it is a part of the whole, or no JSON', () => {
    const whole = { code: 'X', message: 'é "quoted" \\ and more', list: [1, { a: [] }] };
    const bytes = Buffer.from(JSON.stringify(whole));
    for (let end = 0; end < bytes.length; end++) {
      const result = readBoundedJson(bytes.subarray(0, end), { isCut: true });
      expect(['value', 'no JSON']).toContain(result.kind);
      const { message = '' } = (result.kind === 'value' ? result.value : {}) as { message?: string };
      expect(whole.message).toContain(message.replace(/\ufffd$/, ''));
    }
  });
});

describe('4 MiB of an answer', () => {
  test.each([
    ['lists in lists', '['],
    ['objects in objects', '{"a":'],
    ['lists side by side', '[],'],
    ['many lists in many lists', `${'['.repeat(60)}${']'.repeat(60)},`],
  ])('of %s are read in little memory, whatever the answer is', async (_, part) => {
    // Little beside what 4 MiB of these would need: 100 to 350 MiB.
    const program = [new URL('destinations/asking-process.ts', import.meta.url).pathname, part];
    const { stdout } = await execFileAsync(process.execPath, ['--max-old-space-size=64', ...program]);
    const outcomes = JSON.parse(stdout) as unknown;
    expect(outcomes).toMatchObject([
      { status: 200, kind: 'blocked', reason: expect.stringContaining('4194304 bytes, more than') },
      { status: 500, kind: 'refused' },
      { status: 503, kind: 'retry' },
    ]);
  });
});
