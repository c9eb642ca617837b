import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeTracesJsonNow } from '../../src/otlp/json-encoder.ts';
import { ExportTraceServiceRequest } from '../../src/otlp/schema.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { SPAN_ID, TRACE_ID } from './bytes.ts';

/** The request that a JSON body became, in protobufjs's own plain form: integers and bytes as strings. */
async function decode(json: unknown): Promise<Record<string, unknown>> {
  const body = typeof json === 'string' ? json : JSON.stringify(json);
  const result = encodeTracesJsonNow(Buffer.from(body));
  if (!result.ok) throw new Error(result.message);
  const options = { longs: String, bytes: String, enums: Number };
  return ExportTraceServiceRequest.toObject(ExportTraceServiceRequest.decode(result.payload), options);
}

async function problemOf(json: unknown): Promise<string> {
  const body =
    json instanceof Uint8Array ? json : Buffer.from(typeof json === 'string' ? json : JSON.stringify(json));
  const result = encodeTracesJsonNow(body);
  return result.ok ? 'none' : result.message.replace('not an ExportTraceServiceRequest in JSON: ', '');
}

const inSpan = (span: unknown) => ({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
const inValue = (value: unknown) => inSpan({ attributes: [{ key: 'k', value }] });
const SPAN_PATH = 'resourceSpans[0].scopeSpans[0].spans[0]';
const VALUE_PATH = `${SPAN_PATH}.attributes[0].value`;

/** A body with this text in the place of a span's member, or of an attribute's value. */
const rawSpan = (member: string) => JSON.stringify(inSpan('?')).replace('"?"', `{${member}}`);
const rawValue = (member: string) => JSON.stringify(inValue('?')).replace('"?"', `{${member}}`);

async function valueOf(member: string): Promise<unknown> {
  const request = JSON.parse(
    JSON.stringify(await decode(rawValue(member)), (_, value) =>
      typeof value === 'number' ? `${Object.is(value, -0) ? '-0' : value}` : value,
    ),
  );
  return request.resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value;
}

const base64 = (hex: string) => Buffer.from(hex, 'hex').toString('base64');

describe('values', () => {
  test('a full request', async () => {
    const attributes = [{ key: 'k', value: { stringValue: 'é€😀' } }];
    const span = {
      traceId: TRACE_ID.toUpperCase(),
      spanId: SPAN_ID,
      parentSpanId: 'AbCdEf0123456789',
      traceState: 'a=b',
      flags: 257,
      name: 'chat',
      kind: 3,
      startTimeUnixNano: '1726300000123456789',
      endTimeUnixNano: '18446744073709551615',
      attributes,
      droppedAttributesCount: 1,
      events: [{ timeUnixNano: '1', name: 'e', attributes, droppedAttributesCount: 2 }],
      droppedEventsCount: 3,
      links: [
        {
          traceId: TRACE_ID,
          spanId: SPAN_ID.toUpperCase(),
          traceState: 's',
          attributes,
          droppedAttributesCount: 4,
          flags: 1,
        },
      ],
      droppedLinksCount: 5,
      status: { message: 'bad', code: 2 },
    };
    const scopeSpans = [
      {
        scope: { name: 's', version: '1', attributes, droppedAttributesCount: 6 },
        spans: [span],
        schemaUrl: 'u',
      },
    ];
    const entityRefs = [{ schemaUrl: 'u', type: 't', idKeys: ['i'], descriptionKeys: ['d'] }];
    const json = {
      resourceSpans: [
        { resource: { attributes, droppedAttributesCount: 7, entityRefs }, scopeSpans, schemaUrl: 'v' },
      ],
    };
    const expected = structuredClone(json) as {
      resourceSpans: { scopeSpans: { spans: (typeof span)[] }[] }[];
    };
    const expectedSpan = expected.resourceSpans[0]!.scopeSpans[0]!.spans[0]!;
    expectedSpan.traceId = base64(TRACE_ID);
    expectedSpan.spanId = base64(SPAN_ID);
    expectedSpan.parentSpanId = base64('abcdef0123456789');
    expectedSpan.links[0]!.traceId = base64(TRACE_ID);
    expectedSpan.links[0]!.spanId = base64(SPAN_ID);
    expect(await decode(json)).toEqual(expected);
    const result = encodeTracesJsonNow(Buffer.from(JSON.stringify(json)));
    expect(result.ok && scanTraces(result.payload)).toEqual({ ok: true, spanCount: 1, invalidSpanCount: 0 });
  });

  test.each<[string, unknown]>([
    ['"stringValue":""', { stringValue: '' }],
    ['"boolValue":false', { boolValue: false }],
    ['"intValue":0', { intValue: '0' }],
    ['"intValue":-7', { intValue: '-7' }],
    ['"intValue":"-9223372036854775808"', { intValue: '-9223372036854775808' }],
    ['"intValue":"9223372036854775807"', { intValue: '9223372036854775807' }],
    ['"intValue":9223372036854775807', { intValue: '9223372036854775807' }],
    ['"intValue":-9007199254740993', { intValue: '-9007199254740993' }],
    ['"intValue":9007199254740991', { intValue: '9007199254740991' }],
    ['"intValue":1e3', { intValue: '1000' }],
    ['"intValue":1.23456789012345678e18', { intValue: '1234567890123456780' }],
    ['"intValue":"1.5e1"', { intValue: '15' }],
    ['"intValue":"7.0"', { intValue: '7' }],
    ['"doubleValue":1.5', { doubleValue: '1.5' }],
    ['"doubleValue":0', { doubleValue: '0' }],
    ['"doubleValue":-0', { doubleValue: '-0' }],
    ['"doubleValue":"2.5e-3"', { doubleValue: '0.0025' }],
    ['"doubleValue":"NaN"', { doubleValue: 'NaN' }],
    ['"doubleValue":"Infinity"', { doubleValue: 'Infinity' }],
    ['"doubleValue":"-Infinity"', { doubleValue: '-Infinity' }],
    // Beside an integer that needs the exact parser, which gives bigints.
    [
      '"arrayValue":{"values":[{"intValue":9007199254740993},{"doubleValue":9007199254740993},{"doubleValue":1e300}]}',
      {
        arrayValue: {
          values: [
            { intValue: '9007199254740993' },
            { doubleValue: '9007199254740992' },
            { doubleValue: '1e+300' },
          ],
        },
      },
    ],
    ['"bytesValue":"+/+/AA=="', { bytesValue: '+/+/AA==' }],
    ['"bytesValue":"-_-_AA"', { bytesValue: '+/+/AA==' }],
    ['"bytesValue":""', { bytesValue: '' }],
    ['"kvlistValue":{"values":[{"key":"a"}]}', { kvlistValue: { values: [{ key: 'a' }] } }],
    ['"stringValue":"\\u00e9\\n\\ud83d\\ude00"', { stringValue: 'é\n😀' }],
    ['"string\\u0056alue":"a"', { stringValue: 'a' }],
    ['"bytesValue":"\\/\\/8="', { bytesValue: '//8=' }],
    ['"stringValue":null,"intValue":1', { intValue: '1' }],
    ['', {}],
  ])('AnyValue {%s}', async (member, expected) => {
    expect(await valueOf(member)).toEqual(expected);
  });

  test('bare numbers of 64 bits keep all digits', async () => {
    const request = await decode(
      rawSpan('"startTimeUnixNano":1726300000123456789,"endTimeUnixNano":18446744073709551615'),
    );
    expect(request).toEqual(
      inSpan({ startTimeUnixNano: '1726300000123456789', endTimeUnixNano: '18446744073709551615' }),
    );
  });

  test('null is absent, unknown names are ignored, enums may be unknown numbers', async () => {
    const span = {
      name: null,
      attributes: null,
      startTime: 5,
      'trace-id': 1,
      kind: 99,
      future: { deep: [1] },
    };
    expect(await decode(inSpan(span))).toEqual(inSpan({ kind: 99 }));
    expect(await decode('{"__proto__":{"resourceSpans":[{}]},"constructor":1}')).toEqual({});
  });

  test('ids of any length pass here: scanTraces judges them', async () => {
    const result = encodeTracesJsonNow(Buffer.from(JSON.stringify(inSpan({ traceId: 'ab', spanId: '' }))));
    expect(result.ok && scanTraces(result.payload)).toMatchObject({ ok: true, invalidSpanCount: 1 });
  });

  test('one byte order mark is passed over', async () => {
    expect(await decode(`\uFEFF${JSON.stringify(inSpan({ name: 'a' }))}`)).toMatchObject(
      inSpan({ name: 'a' }),
    );
    expect(await problemOf('\uFEFF\uFEFF{}')).toBe('expected a value, at byte 0 of 5');
  });

  test('ids in base64, as protobuf has them in its own JSON, where they have the size of one', async () => {
    const ids = { traceId: base64(TRACE_ID), spanId: base64(SPAN_ID), parentSpanId: '-_-_-_-_-_8=' };
    expect(await decode(inSpan(ids))).toEqual(inSpan({ ...ids, parentSpanId: '+/+/+/+/+/8=' }));
    for (const id of [
      '=',
      '==',
      'AQI=',
      `${base64(TRACE_ID)}=`,
      base64('00'.repeat(32)),
      base64(`${SPAN_ID}00`),
    ]) {
      expect(await problemOf(inSpan({ traceId: id }))).toContain('expected hexadecimal digits');
    }
  });
});

describe('errors name the place, what is expected and what was found', () => {
  test.each<[unknown, string]>([
    [[], 'expected an object; found an array'],
    ['null', 'expected an object; found null'],
    ['"text"', 'expected an object; found text of 4 characters'],
    ['"t"', 'expected an object; found text of 1 character'],
    [{ resourceSpans: {} }, 'resourceSpans: expected an array; found an object'],
    [{ resourceSpans: [null] }, 'resourceSpans[0]: expected an object; found null'],
    [{ resourceSpans: [{}, 7] }, 'resourceSpans[1]: expected an object; found 7'],
    [inSpan({ name: 5 }), `${SPAN_PATH}.name: expected a string; found 5`],
    [
      rawSpan('"name":"\\ud800"'),
      `${SPAN_PATH}.name: expected text without lone surrogates; found text of 1 character`,
    ],
    [
      inSpan({ traceId: 'xyz!' }),
      `${SPAN_PATH}.traceId: expected hexadecimal digits, two a byte; found text of 4 characters`,
    ],
    [
      inSpan({ traceId: 'abc' }),
      `${SPAN_PATH}.traceId: expected hexadecimal digits, two a byte; found text of 3 characters`,
    ],
    [inSpan({ traceId: 12 }), `${SPAN_PATH}.traceId: expected hexadecimal digits, two a byte; found 12`],
    [
      inSpan({ links: [{ spanId: 'AQI=' }] }),
      `${SPAN_PATH}.links[0].spanId: expected hexadecimal digits, two a byte; found text of 4 characters`,
    ],
    [
      inSpan({ kind: 'SPAN_KIND_CHEF' }),
      `${SPAN_PATH}.kind: expected the number or the name of an enum value; found text of 14 characters`,
    ],
    [
      inSpan({ kind: '3' }),
      `${SPAN_PATH}.kind: expected the number or the name of an enum value; found text of 1 character`,
    ],
    [inSpan({ kind: 1.5 }), `${SPAN_PATH}.kind: expected the number or the name of an enum value; found 1.5`],
    [
      inSpan({ status: { code: 2 ** 31 } }),
      `${SPAN_PATH}.status.code: expected the number or the name of an enum value; found 2147483648`,
    ],
    [inSpan({ flags: -1 }), `${SPAN_PATH}.flags: expected an unsigned 32-bit integer; found -1`],
    [
      rawSpan(`"flags":${'9'.repeat(500)}`),
      `${SPAN_PATH}.flags: expected an unsigned 32-bit integer; found ${'9'.repeat(40)}`,
    ],
    [inSpan({ flags: 2 ** 32 }), `${SPAN_PATH}.flags: expected an unsigned 32-bit integer; found 4294967296`],
    [
      inSpan({ droppedEventsCount: 0.5 }),
      `${SPAN_PATH}.droppedEventsCount: expected an unsigned 32-bit integer; found 0.5`,
    ],
    [
      inSpan({ startTimeUnixNano: '-1' }),
      `${SPAN_PATH}.startTimeUnixNano: expected an unsigned 64-bit integer, as a decimal string or a number; found text of 2 characters`,
    ],
    [
      inSpan({ startTimeUnixNano: '18446744073709551616' }),
      `${SPAN_PATH}.startTimeUnixNano: expected an unsigned 64-bit integer, as a decimal string or a number; found text of 20 characters`,
    ],
    [
      rawSpan('"startTimeUnixNano":18446744073709551616'),
      `${SPAN_PATH}.startTimeUnixNano: expected an unsigned 64-bit integer, as a decimal string or a number; found 18446744073709551616`,
    ],
    [
      inSpan({ startTimeUnixNano: '2026-01-01' }),
      `${SPAN_PATH}.startTimeUnixNano: expected an unsigned 64-bit integer, as a decimal string or a number; found text of 10 characters`,
    ],
    [
      inSpan({ startTimeUnixNano: '' }),
      `${SPAN_PATH}.startTimeUnixNano: expected an unsigned 64-bit integer, as a decimal string or a number; found text of 0 characters`,
    ],
    [
      inValue({ intValue: '9223372036854775808' }),
      `${VALUE_PATH}.intValue: expected a 64-bit integer, as a decimal string or a number; found text of 19 characters`,
    ],
    [
      inValue({ intValue: 1e300 }),
      `${VALUE_PATH}.intValue: expected a 64-bit integer, as a decimal string or a number; found 1e+300`,
    ],
    [
      inValue({ intValue: '1e400' }),
      `${VALUE_PATH}.intValue: expected a 64-bit integer, as a decimal string or a number; found text of 5 characters`,
    ],
    [
      inValue({ boolValue: 'true' }),
      `${VALUE_PATH}.boolValue: expected true or false; found text of 4 characters`,
    ],
    [
      rawValue('"doubleValue":1e999'),
      `${VALUE_PATH}.doubleValue: expected a number, "NaN", "Infinity" or "-Infinity"; found 1e999`,
    ],
    [
      inValue({ doubleValue: '0x10' }),
      `${VALUE_PATH}.doubleValue: expected a number, "NaN", "Infinity" or "-Infinity"; found text of 4 characters`,
    ],
    [
      inValue({ doubleValue: true }),
      `${VALUE_PATH}.doubleValue: expected a number, "NaN", "Infinity" or "-Infinity"; found true`,
    ],
    [inValue({ bytesValue: 'a' }), `${VALUE_PATH}.bytesValue: expected base64; found text of 1 character`],
    [
      inValue({ bytesValue: '*bc=' }),
      `${VALUE_PATH}.bytesValue: expected base64; found text of 4 characters`,
    ],
    [
      inValue({ arrayValue: { values: [null] } }),
      `${VALUE_PATH}.arrayValue.values[0]: expected an object; found null`,
    ],
    [
      inValue({ stringValue: 'a', intValue: 1 }),
      `${VALUE_PATH}.intValue: expected no other member beside stringValue; found 1`,
    ],
    [
      rawValue('"intValue":1,"intValue":2'),
      `${VALUE_PATH}.intValue: expected no second value for the same name; found 2`,
    ],
    [
      rawSpan('"\\u006eame":"a","name":"b"'),
      `${SPAN_PATH}.name: expected no second value for the same name; found text of 1 character`,
    ],
    ['', 'expected a value, at byte 0 of 0'],
    ['{"secret text', 'expected the end of a string, at byte 13 of 13'],
    ['{"resourceSpans":[]} x', 'expected nothing more, at byte 21 of 22'],
    ['{"resourceSpans":[{}}', 'expected "," or "]", at byte 20 of 21'],
    [rawSpan('"name":"\\q"'), 'expected known escapes in the string before, at byte 55 of 62'],
    [Buffer.from([0x22, 0xff, 0x22]), 'invalid UTF-8'],
  ])('%j', async (json, problem) => {
    expect(await problemOf(json)).toBe(problem);
  });
});

const future = (times: number) => `{"future":${'['.repeat(times)}${']'.repeat(times)}}`;

function inArrays(times: number): unknown {
  let value: unknown = { stringValue: 'x' };
  for (let i = 0; i < times; i++) value = { arrayValue: { values: [value] } };
  return inValue(value);
}

describe('nesting', () => {
  test('as deep as scanTraces allows, and no deeper', async () => {
    const result = encodeTracesJsonNow(Buffer.from(JSON.stringify(inArrays(47))));
    expect(result.ok && scanTraces(result.payload)).toMatchObject({ ok: true });
    expect(await problemOf(inArrays(48))).toContain('expected at most 100 messages within each other');
  });

  test('of what nobody reads, to any depth', async () => {
    expect(await problemOf(future(500_000))).toBe('none');
    expect(await problemOf(future(500_000).replace(']}', '}'))).toContain('expected "," or "]"');
  });
});

describe('properties', () => {
  const text = fc.string({ unit: 'binary', maxLength: 60 });
  const { value } = fc.letrec<{ value: unknown; list: unknown; map: unknown }>((tie) => ({
    list: fc.array(tie('value'), { maxLength: 3 }).map((values) => ({ arrayValue: { values } })),
    map: fc
      .array(fc.record({ key: text, value: tie('value') }), { maxLength: 3 })
      .map((values) => ({ kvlistValue: { values } })),
    value: fc.oneof(
      { maxDepth: 4 },
      text.map((stringValue) => ({ stringValue })),
      fc.boolean().map((boolValue) => ({ boolValue })),
      fc
        .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
        .map((integer) => ({ intValue: integer.toString() })),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((doubleValue) => ({ doubleValue })),
      fc
        .uint8Array({ maxLength: 20 })
        .map((bytes) => ({ bytesValue: Buffer.from(bytes).toString('base64') })),
      tie('list'),
      tie('map'),
    ),
  }));
  const span = fc.record(
    {
      name: text,
      flags: fc.nat(2 ** 32 - 1),
      kind: fc.nat(5),
      startTimeUnixNano: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String),
      attributes: fc.array(fc.record({ key: text, value }), { maxLength: 4 }),
      status: fc.record({ code: fc.nat(2), message: text }, { requiredKeys: [] }),
    },
    { requiredKeys: [] },
  );

  test('the protobuf decodes to what protobufjs makes of the same values', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(span, { maxLength: 3 }), async (spans) => {
        const json = { resourceSpans: [{ scopeSpans: [{ spans }] }] };
        const result = encodeTracesJsonNow(Buffer.from(JSON.stringify(json)));
        // -0 does not survive JSON.stringify.
        const same = ExportTraceServiceRequest.fromObject(
          JSON.parse(JSON.stringify(json)) as Record<string, unknown>,
        );
        const decoded = ExportTraceServiceRequest.decode(ExportTraceServiceRequest.encode(same).finish());
        expect(result.ok && ExportTraceServiceRequest.decode(result.payload).toJSON()).toEqual(
          decoded.toJSON(),
        );
        expect(result.ok && scanTraces(result.payload)).toMatchObject({ ok: true, spanCount: spans.length });
      }),
    );
  });

  test('text is what JSON.parse makes of it, however it is escaped', () => {
    const written = fc
      .array(
        fc.oneof(
          fc.constantFrom(
            '\\n',
            '\\"',
            '\\\\',
            '\\/',
            '\\b',
            '\\f',
            '\\r',
            '\\t',
            'é',
            '😀',
            'a',
            '\\ud83d',
            '\\ude00',
            '\\x',
            '\\u12',
          ),
          fc.nat(0xffff).map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`),
        ),
        { maxLength: 8 },
      )
      .map((pieces) => pieces.join(''));
    let taken = 0;
    fc.assert(
      fc.property(written, (content) => {
        const result = encodeTracesJsonNow(Buffer.from(`{"resourceSpans":[{"schemaUrl":"${content}"}]}`));
        let expected: string | undefined;
        try {
          expected = JSON.parse(`"${content}"`) as string;
        } catch {
          // Neither takes it.
        }
        const isText = expected?.isWellFormed() === true;
        expect(result.ok).toBe(isText);
        if (!result.ok) return;
        taken++;
        const decoded = ExportTraceServiceRequest.decode(result.payload).toJSON();
        expect(decoded['resourceSpans'][0].schemaUrl ?? '').toBe(expected);
      }),
      { numRuns: 3000 },
    );
    expect(taken).toBeGreaterThan(300);
  });

  test('any JSON gives a result; what passes, passes the scan', async () => {
    const keys = [
      'resourceSpans',
      'scopeSpans',
      'spans',
      'attributes',
      'value',
      'name',
      'intValue',
      'arrayValue',
      'values',
    ];
    const { node } = fc.letrec<{ node: unknown }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 8, depthSize: 'large' },
        fc.jsonValue({ maxDepth: 1 }),
        fc.array(tie('node'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom(...keys), tie('node'), { maxKeys: 4 }),
      ),
    }));
    await fc.assert(
      fc.asyncProperty(node, async (json) => {
        const result = encodeTracesJsonNow(Buffer.from(JSON.stringify(json)));
        const verdict = result.ok ? scanTraces(result.payload) : result;
        expect(
          result.ok ? verdict.ok : result.message.startsWith('not an ExportTraceServiceRequest in JSON: '),
        ).toBe(true);
      }),
    );
  });
});
