import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareSpans } from '../../src/inject/compare.ts';
import type { SentSpan, SentValue } from '../../src/inject/sent-spans.ts';
import type { StoredSpan, StoredValue } from '../../src/inject/stored-trace.ts';
import { LISTS, SHOWN_TEXTS } from './shown-texts.ts';

const SPAN: StoredSpan & { kind: string } = {
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  parentSpanId: '',
  name: 'root',
  kind: 'SPAN_KIND_SERVER',
  start: 1_700_000_000_000_000_001n,
  end: 1_700_000_000_000_000_002n,
  attributes: { 'gen_ai.usage.input_tokens': 412, 'user.id': 'me' },
  events: [{ name: 'exception', time: 1_700_000_000_000_000_001n, attributes: { 'exception.type': 'E' } }],
  links: [{ traceId: 'c'.repeat(32), spanId: 'd'.repeat(16), attributes: {} }],
  status: { code: 'STATUS_CODE_ERROR', message: 'no answer' },
};

const withAttribute = (value: SentValue): SentSpan => ({ ...SPAN, attributes: { key: value } });
const showing = (value: StoredValue): StoredSpan => ({ ...SPAN, attributes: { key: value } });
const whats = (sent: readonly SentSpan[], stored: readonly StoredSpan[]) =>
  compareSpans(sent, stored).map(({ what }) => what);

describe('no difference is', () => {
  test('a trace with itself, in any order', () => {
    const other = { ...SPAN, spanId: 'e'.repeat(16) };
    expect(compareSpans([SPAN, other], [other, SPAN])).toEqual([]);
  });

  test("what MLflow adds for itself, and its own word for the trace's id", () => {
    const stored = { ...SPAN, attributes: { ...SPAN.attributes, 'mlflow.spanType': 'AGENT' } };
    expect(compareSpans([SPAN], [stored])).toEqual([]);
    const claiming = { ...SPAN, attributes: { ...SPAN.attributes, 'mlflow.traceRequestId': 'tr-other' } };
    expect(compareSpans([claiming], [SPAN])).toEqual([]);
  });

  test.each<[SentValue, StoredValue]>([
    ...SHOWN_TEXTS,
    // As MLflow 3.10 has it.
    ...LISTS.map(([text]): [string, string] => [text, text]),
    [Uint8Array.of(0, 255), String.raw`b'\x00\xff'`],
    [Number.NaN, 'NaN'],
    [Number.NEGATIVE_INFINITY, '-Infinity'],
    [2n ** 62n, 2n ** 62n],
    [{ a: ['[1]'] }, { a: ['[1]'] }],
  ])('%o, shown as %o', (sent, stored) => {
    expect(compareSpans([withAttribute(sent)], [showing(stored)])).toEqual([]);
  });

  // Of MLflow 3.18.0; 3.17.2 and 3.10.0 give none back.
  test.each([
    ['SPAN_KIND_UNSPECIFIED', 'SPAN_KIND_INTERNAL'],
    ['SPAN_KIND_INTERNAL', 'SPAN_KIND_INTERNAL'],
    ['SPAN_KIND_SERVER', 'SPAN_KIND_SERVER'],
    ['SPAN_KIND_CLIENT', 'SPAN_KIND_CLIENT'],
    ['SPAN_KIND_PRODUCER', 'SPAN_KIND_PRODUCER'],
    ['SPAN_KIND_CONSUMER', 'SPAN_KIND_CONSUMER'],
  ])('the kind %s, shown as %s or not at all', (kind, shown) => {
    const { kind: _, ...without } = SPAN;
    expect(compareSpans([{ ...SPAN, kind }], [{ ...SPAN, kind: shown }])).toEqual([]);
    expect(compareSpans([{ ...SPAN, kind }], [without])).toEqual([]);
  });

  test('what would be a tag that MLflow sets itself, and is dropped', () => {
    const tag = { 'mlflow.traceTag.mlflow.artifactLocation': 'file:///elsewhere' };
    const sent = { ...SPAN, attributes: { ...SPAN.attributes, ...tag } };
    expect(compareSpans([sent], [SPAN])).toEqual([]);
    expect(compareSpans([sent], [sent])).toEqual([]);
    const parentSpanId = 'f'.repeat(16);
    expect(whats([{ ...sent, parentSpanId }], [{ ...SPAN, parentSpanId }])).toHaveLength(1);
  });

  test('a message of a status that is no error', () => {
    const sent = { ...SPAN, status: { code: 'STATUS_CODE_OK', message: 'fine' } };
    const stored = { ...SPAN, status: { code: 'STATUS_CODE_OK', message: '' } };
    expect(compareSpans([sent], [stored])).toEqual([]);
  });
});

describe('a difference is', () => {
  test.each<[string, Partial<StoredSpan>]>([
    ['parent', { parentSpanId: 'f'.repeat(16) }],
    ['name', { name: 'other' }],
    ['kind', { kind: 'SPAN_KIND_CLIENT' }],
    ['kind', { kind: 'SPAN_KIND_INTERNAL' }],
    ['start', { start: SPAN.start + 1n }],
    ['end', { end: SPAN.end - 1n }],
    ['status', { status: { code: 'STATUS_CODE_OK', message: '' } }],
    ['status', { status: { code: 'STATUS_CODE_ERROR', message: 'other' } }],
    ['attribute user.id', { attributes: { ...SPAN.attributes, 'user.id': 'you' } }],
    ['attribute user.id', { attributes: { 'gen_ai.usage.input_tokens': 412 } }],
    ['attribute relay.repaired', { attributes: { ...SPAN.attributes, 'relay.repaired': 'cut' } }],
    ['events', { events: [] }],
    ['events', { events: [{ ...SPAN.events[0]!, time: 1n }] }],
    ['events', { events: [{ ...SPAN.events[0]!, attributes: {} }] }],
    ['links', { links: [{ ...SPAN.links[0]!, attributes: { more: 1 } }] }],
    ['links', { links: [{ ...SPAN.links[0]!, spanId: '1'.repeat(16) }] }],
  ])('%s: %o', (what, change) => {
    expect(whats([SPAN], [{ ...SPAN, ...change }])).toEqual([what]);
  });

  test.each<[SentValue, StoredValue]>([
    ['1', 1],
    ['true', true],
    [1, '1'],
    [null, ''],
    ['{"a":1}', { a: 2 }],
    ['[1]', { '0': 1 }],
    ['{"a":"[1]"}', { a: [1] }],
    ['{"a":NaN}', { a: 'Infinity' }],
    ['{"a":9007199254740993}', { a: 9007199254740992 }],
    [{ a: '[1]' }, { a: [1] }],
    [['"q"'], ['q']],
    [
      [1, 2],
      [2, 1],
    ],
    [{ a: 1 }, { a: 1, b: 2 }],
    [{ a: 1 }, [1]],
    [2n ** 62n, 2n ** 62n + 1n],
  ])('%o, shown as %o', (sent, stored) => {
    expect(whats([withAttribute(sent)], [showing(stored)])).toEqual(['attribute key']);
  });

  test('a text of an event or a link that is shown as what it says', () => {
    const [event, link] = [SPAN.events[0]!, SPAN.links[0]!];
    const as = (json: StoredValue) => ({
      ...SPAN,
      events: [{ ...event, attributes: { json } }],
      links: [{ ...link, attributes: { json } }],
    });
    expect(whats([as('[1]')], [as('[1]')])).toEqual([]);
    expect(whats([as('[1]')], [as([1])])).toEqual(['events', 'links']);
  });

  test('a span that is missing, and one that nobody has sent', () => {
    const other = { ...SPAN, spanId: 'e'.repeat(16), name: 'foreign' };
    expect(compareSpans([SPAN], [other])).toEqual([
      { spanId: SPAN.spanId, span: 'root', what: 'span', sent: 'a span', stored: 'nothing' },
      { spanId: other.spanId, span: 'foreign', what: 'span', sent: 'nothing', stored: 'a span' },
    ]);
  });

  test('told with both values, and long ones cut', () => {
    const [found] = compareSpans([withAttribute('ä'.repeat(300))], [showing(['x'.repeat(300)])]);
    expect(found).toEqual({
      spanId: SPAN.spanId,
      span: 'root',
      what: 'attribute key',
      // Without the quotes of a text; what is no text has the length of its JSON.
      sent: `"${'ä'.repeat(119)}… (300 characters)`,
      stored: `["${'x'.repeat(118)}… (304 characters)`,
    });
  });
});

const plainValue = fc.letrec<{ value: StoredValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.string(),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.string(), tie('value'), { maxKeys: 3 }) as fc.Arbitrary<Record<string, StoredValue>>,
  ),
})).value;

test('whatever an attribute is, it is the same as itself and is not the same as what holds it', () => {
  const key = fc.string().filter((text) => text !== 'mlflow.traceRequestId');
  fc.assert(
    fc.property(plainValue, key, (value, name) => {
      const span = { ...SPAN, attributes: { [name]: value } };
      expect(compareSpans([span], [span])).toEqual([]);
      const wrapped = { ...SPAN, attributes: { [name]: { wrapped: value } } };
      expect(whats([span], [wrapped])).toEqual([`attribute ${name}`]);
    }),
  );
});
