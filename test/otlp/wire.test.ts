import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExportTraceServiceRequest } from '../../src/otlp/schema.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { GOOD_IDS, group, hex, join, len, nest, requestOf, requestWithValue, tag, varint } from './bytes.ts';
import { bytesOf, requestTree, spansOf } from './request-tree.ts';

const NINE = 'ff'.repeat(9);
const span = (...fields: Uint8Array[]) => requestOf(join(GOOD_IDS, ...fields));

describe('framing', () => {
  // Each as Google's parser (protobuf 7.36 for Python, upb) answers, unless a note says otherwise.
  test.each<[string, Uint8Array, boolean]>([
    ['nothing', hex(''), true],
    ['an empty ResourceSpans', hex('0a00'), true],
    ['a tag without value', hex('0a'), false],
    ['a length beyond the end', hex('0a05 00'), false],
    [
      'a length beyond the message around it, within the payload',
      join(hex('0a02 1205'), hex('0000000000')),
      false,
    ],
    ['a tag of 5 bytes that could be shorter', hex('8882808000 01'), true],
    ['the largest tag', hex('f8ffffff0f 01'), true],
    ['a tag beyond 32 bits', hex('8882808010 01'), false],
    ['a tag of 6 bytes', hex('888080808000 01'), false],
    ['a length of 5 bytes that could be shorter', hex('0a8080808000'), true],
    ['a length of 6 bytes', hex('0a808080808000'), false],
    ['a length of 10 bytes', hex('0a80808080808080808000'), false],
    ['a negative length', hex(`0a${NINE}01`), false],
    ['a varint of 64 bits', hex(`a001${NINE}01`), true],
    ['a varint of 11 bytes', hex(`a001${NINE}ff01`), false],
    ['a varint of 10 bytes beyond 64 bits (Google drops bits, Go refuses)', hex(`a001${NINE}02`), false],
    ['a varint that is cut off', hex('a001ff'), false],
    ['a varint that leaves its message', hex('0a03a001ff 0a00'), false],
    ['32 bits that leave their message', hex('0a03a50100 0a00 0a00'), false],
    ['64 bits cut off', hex('a101 00000000000000'), false],
    ['32 bits cut off', hex('a501 000000'), false],
    ['field number 0', hex('0001'), false],
    ['field number 0 with a length', hex('0200'), false],
    ['wire type 6', hex('0e'), false],
    ['wire type 7', hex('0f'), false],
    ['an empty group', group(20), true],
    ['a group in a group', group(20, group(21), len(22, 'x')), true],
    ['a group in the place of a known message', group(1), true],
    ['a group without end', hex('a301'), false],
    ['the end of another group', hex('0b14'), false],
    ['an end without group', hex('0c'), false],
    ['a group that ends beyond its message', join(len(1, hex('0b')), hex('0c')), false],
    ['wire type 6 in a group', hex('a301 0e a401'), false],
    [
      'field number 0 in a group (Google takes it, pure Python and protobufjs refuse)',
      hex('a301 0001 a401'),
      false,
    ],
    ['a known message with wire type 0', hex('0801'), true],
    ['a known number with a length', span(len(6, 'x')), true],
    ['JSON', join('{"resourceSpans":[]}'), false],
    ['HTML', join('<!doctype html>'), false],
  ])('%s', (_name, payload, ok) => {
    expect(scanTraces(payload)).toMatchObject({ ok });
  });

  test('the message says what and where', () => {
    expect(scanTraces(hex('0a05 00'))).toEqual({
      ok: false,
      message:
        'not an ExportTraceServiceRequest in protobuf: a field longer than what is around it, at byte 1 of 3',
    });
  });

  test('a slice of a larger buffer is read within its bounds', () => {
    const payload = span(len(5, 'name'));
    const pool = join('xxxxx', payload, hex('ff'));
    expect(scanTraces(pool.subarray(5, 5 + payload.length))).toEqual({
      ok: true,
      spanCount: 1,
      invalidSpanCount: 0,
    });
    expect(scanTraces(Buffer.from(payload))).toEqual({ ok: true, spanCount: 1, invalidSpanCount: 0 });
  });
});

const attribute = (key: Uint8Array) => len(1, key);

describe('UTF-8', () => {
  const places: Record<string, (text: Uint8Array) => Uint8Array> = {
    'ResourceSpans.schema_url': (text) => len(1, len(3, text)),
    'ScopeSpans.schema_url': (text) => len(1, len(2, len(3, text))),
    'KeyValue.key of a resource': (text) => len(1, len(1, len(1, attribute(text)))),
    'EntityRef.schema_url': (text) => len(1, len(1, len(3, len(1, text)))),
    'EntityRef.type': (text) => len(1, len(1, len(3, len(2, text)))),
    'EntityRef.id_keys': (text) => len(1, len(1, len(3, len(3, text)))),
    'EntityRef.description_keys': (text) => len(1, len(1, len(3, len(4, text)))),
    'InstrumentationScope.name': (text) => len(1, len(2, len(1, len(1, text)))),
    'InstrumentationScope.version': (text) => len(1, len(2, len(1, len(2, text)))),
    'KeyValue.key of a scope': (text) => len(1, len(2, len(1, len(3, attribute(text))))),
    'Span.trace_state': (text) => span(len(3, text)),
    'Span.name': (text) => span(len(5, text)),
    'KeyValue.key of a span': (text) => span(len(9, attribute(text))),
    'Event.name': (text) => span(len(11, len(2, text))),
    'KeyValue.key of an event': (text) => span(len(11, len(3, attribute(text)))),
    'Link.trace_state': (text) => span(len(13, len(3, text))),
    'KeyValue.key of a link': (text) => span(len(13, len(4, attribute(text)))),
    'Status.message': (text) => span(len(15, len(2, text))),
    'AnyValue.string_value': (text) => requestWithValue(len(1, text)),
    'AnyValue.string_value in an array': (text) => requestWithValue(len(5, len(1, len(1, text)))),
    'KeyValue.key in a map': (text) => requestWithValue(len(6, len(1, attribute(text)))),
  };

  test.each(Object.entries(places))('%s is checked', (name, place) => {
    for (const padding of [0, 100]) {
      const good = join('é€😀', 'x'.repeat(padding));
      const bad = join('x'.repeat(padding), hex('ff'));
      expect(scanTraces(place(good))).toMatchObject({ ok: true });
      expect(scanTraces(place(bad))).toMatchObject({
        ok: false,
        message: expect.stringContaining(`invalid UTF-8 in ${name.split(' ')[0]}`),
      });
    }
  });

  test.each<[string, string, boolean]>([
    ['a lone surrogate', 'eda080', false],
    ['an overlong NUL', 'c080', false],
    ['nothing but the byte 80', '80', false],
    ['NUL', '00', true],
    ['the last code point', 'f48fbfbf', true],
    ['one beyond the last', 'f4908080', false],
    ['a sequence that is cut off', 'e282', false],
  ])('%s', (_name, text, ok) => {
    expect(scanTraces(span(len(5, hex(text))))).toMatchObject({ ok });
  });

  test.each([
    ['bytes_value', requestWithValue(len(7, hex('ff')))],
    ['an unknown field', len(1, len(30, hex('ff')))],
  ])('not in %s', (_name, payload) => {
    expect(scanTraces(payload)).toMatchObject({ ok: true });
  });
});

const array = (inner: Uint8Array) => len(5, len(1, inner));
const map = (inner: Uint8Array) => len(6, len(1, len(2, inner)));

describe('nesting: what Google parses, and no more', () => {
  const text = len(1, 'x');

  test.each<[string, Uint8Array, boolean]>([
    ['47 arrays', requestWithValue(nest(47, text, array)), true],
    ['47 arrays around an empty one', requestWithValue(nest(47, len(5), array)), true],
    ['48 arrays', requestWithValue(nest(48, text, array)), false],
    ['31 maps', requestWithValue(nest(31, text, map)), true],
    ['31 maps around one with an empty attribute', requestWithValue(nest(31, len(6, len(1)), map)), true],
    ['31 maps around one more', requestWithValue(nest(31, len(6, len(1, len(2))), map)), false],
    ['32 maps', requestWithValue(nest(32, text, map)), false],
    ['99 groups', nest(99, hex(''), (inner) => group(20, inner)), true],
    ['100 groups (pure Python refuses)', nest(100, hex(''), (inner) => group(20, inner)), false],
    [
      '98 groups in a ResourceSpans',
      len(
        1,
        nest(98, hex(''), (inner) => group(20, inner)),
      ),
      true,
    ],
    [
      '100 groups in a ResourceSpans',
      len(
        1,
        nest(100, hex(''), (inner) => group(20, inner)),
      ),
      false,
    ],
    ['94 groups in a value', requestWithValue(nest(94, hex(''), (inner) => group(20, inner))), true],
    ['96 groups in a value', requestWithValue(nest(96, hex(''), (inner) => group(20, inner))), false],
  ])('%s', (_name, payload, ok) => {
    expect(scanTraces(payload)).toMatchObject({ ok });
  });

  test('any depth is refused without filling the stack', () => {
    const groups = Buffer.alloc(1_000_000, 0x0b);
    expect(scanTraces(groups)).toMatchObject({ ok: false, message: expect.stringContaining('nesting') });
    // 200,000 arrays, built from the inside with lengths that fit.
    const heads: Uint8Array[] = [];
    for (let i = 0, size = 0; i < 200_000; i++) {
      const inner = join(tag(1, 2), varint(size));
      const head = join(tag(5, 2), varint(size + inner.length), inner);
      heads.push(head);
      size += head.length;
    }
    const payload = requestWithValue(new Uint8Array(Buffer.concat(heads.toReversed())));
    expect(scanTraces(payload)).toMatchObject({ ok: false, message: expect.stringContaining('nested') });
  });
});

describe('ids', () => {
  const trace = hex('0102030405060708090a0b0c0d0e0f10');
  const id = hex('1112131415161718');
  test.each<[string, Uint8Array, string | undefined]>([
    ['good ones', join(len(1, trace), len(2, id)), undefined],
    ['a parent', join(len(1, trace), len(2, id), len(4, id)), undefined],
    ['an empty parent', join(len(1, trace), len(2, id), len(4)), undefined],
    ['a parent of zeros', join(len(1, trace), len(2, id), len(4, new Uint8Array(8))), undefined],
    ['a bad trace id before a good one', join(len(1, 'x'), len(1, trace), len(2, id)), undefined],
    ['no trace id', len(2, id), 'no trace id'],
    ['an empty trace id', join(len(1), len(2, id)), 'no trace id'],
    ['a trace id of another wire type', join(tag(1, 0), varint(1), len(2, id)), 'no trace id'],
    ['a trace id of 20 bytes', join(len(1, trace, 'long'), len(2, id)), 'trace id of 20 bytes, not 16'],
    ['a trace id of zeros', join(len(1, new Uint8Array(16)), len(2, id)), 'trace id of zeros only'],
    [
      'a good trace id before a bad one',
      join(len(1, trace), len(1, 'x'), len(2, id)),
      'trace id of 1 bytes, not 16',
    ],
    ['no span id', len(1, trace), 'no span id'],
    ['a span id of 16 bytes', join(len(1, trace), len(2, trace)), 'span id of 16 bytes, not 8'],
    ['a span id of zeros', join(len(1, trace), len(2, new Uint8Array(8))), 'span id of zeros only'],
    [
      'a parent of 4 bytes',
      join(len(1, trace), len(2, id), len(4, 'four')),
      'parent span id of 4 bytes, not 8 or none',
    ],
  ])('%s', (_name, content, problem) => {
    const good = join(len(1, trace), len(2, id));
    expect(scanTraces(requestOf(good, content, good))).toEqual({
      ok: true,
      spanCount: 3,
      invalidSpanCount: problem === undefined ? 0 : 1,
      ...(problem === undefined ? {} : { problem: `span 1 (counted from 0): ${problem}` }),
    });
  });

  test('all bad spans are counted, across scopes and resources', () => {
    const payload = join(
      requestOf(GOOD_IDS, hex('')),
      requestOf(hex('')),
      requestOf(GOOD_IDS),
      requestOf(len(1, 'x')),
    );
    expect(scanTraces(payload)).toMatchObject({
      spanCount: 5,
      invalidSpanCount: 3,
      problem: 'span 1 (counted from 0): no trace id',
    });
  });

  test('ids of links are not judged', () => {
    expect(scanTraces(span(len(13, len(1, 'x'))))).toMatchObject({ ok: true, invalidSpanCount: 0 });
  });
});

describe('properties', () => {
  test('valid requests pass with all their spans', () => {
    fc.assert(
      fc.property(requestTree, (tree) => {
        expect(scanTraces(bytesOf(tree))).toEqual({
          ok: true,
          spanCount: spansOf(tree).length,
          invalidSpanCount: 0,
        });
      }),
    );
  });

  test('never throws; what passes, protobufjs decodes, with as many spans', () => {
    const mutated = fc
      .tuple(
        requestTree,
        fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('set', 'cut', 'insert')), { maxLength: 4 }),
      )
      .map(([tree, changes]) => {
        let bytes = bytesOf(tree);
        for (const [place, byte, change] of changes) {
          const at = place % (bytes.length + 1);
          const rest = bytes.subarray(change === 'insert' ? at : at + 1);
          bytes = join(bytes.subarray(0, at), change === 'cut' ? '' : Uint8Array.of(byte), rest);
        }
        return bytes;
      });
    let passed = 0;
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 40 })), (payload) => {
        const result = scanTraces(payload);
        if (!result.ok) return;
        passed++;
        const request = ExportTraceServiceRequest.decode(payload).toJSON();
        const spans = (request['resourceSpans'] ?? []).flatMap(
          (resource: Record<string, Record<string, unknown[]>[]>) =>
            (resource['scopeSpans'] ?? []).flatMap((scope) => scope['spans'] ?? []),
        );
        expect(result.spanCount).toBe(spans.length);
      }),
      { numRuns: 3000 },
    );
    // The mutations must leave something to compare.
    expect(passed).toBeGreaterThan(100);
  });
});
