import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { agentTrace } from '../../src/inject/agent-trace.ts';
import { sentTraces } from '../../src/inject/sent-spans.ts';
import { readTraceFile } from '../../src/inject/trace-file.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';
import * as requestTree from '../otlp/request-tree.ts';

const ENDED_AT = 1_700_000_000_000;
const one = agentTrace('one', {}, ENDED_AT).payload;
const two = agentTrace('two', {}, ENDED_AT).payload;
const json = (payload: Uint8Array, indent?: number) =>
  JSON.stringify(tracesToJson(payload), undefined, indent);

const LIMIT = 1024 * 1024;
const read = (content: string | Uint8Array, limit = LIMIT) => readTraceFile(Buffer.from(content), limit);

const lines = (payloads: readonly Uint8Array[]) =>
  Buffer.from(payloads.map((each) => `${json(each)}\n`).join(''));

/** As the Collector's file exporter with `format: proto`, or with `compression`. */
function withLengths(...payloads: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    payloads.flatMap((payload) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(payload.length);
      return [length, payload];
    }),
  );
}

/** JSON has the same spans, whatever the order of its fields. */
const spansOf = (payloads: readonly Uint8Array[]) => sentTraces(payloads);

describe('is read', () => {
  test.each<[string, string | Uint8Array, Uint8Array[]]>([
    ['a document', json(one), [one]],
    ['a document over several lines', json(one, 2), [one]],
    ['a document with a byte order mark', `\uFEFF${json(one)}\n`, [one]],
    ['lines', `${json(one)}\n${json(two)}\n`, [one, two]],
    ['lines with what a Windows editor leaves', `${json(one)}\r\n\r\n${json(two)}\r\n`, [one, two]],
    ['protobuf', one, [one]],
    ['protobuf with lengths', withLengths(one, two), [one, two]],
    ['JSON after an empty line', `\n${json(one)}`, [one]],
    ['JSON with lengths', withLengths(Buffer.from(json(one)), Buffer.from(json(two, 2))), [one, two]],
    ['a request without spans beside another', withLengths(new Uint8Array(), one), [new Uint8Array(), one]],
  ])('%s', async (_, content, expected) => {
    const file = await read(content);
    if (!file.ok) throw new Error(file.problem);
    expect(file.requests).toHaveLength(expected.length);
    expect(spansOf(file.requests)).toEqual(spansOf(expected));
  });
});

const ZSTD_ONE = zstdCompressSync(one, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });

/** As pzstd writes one before each frame of data, with the size of that in it. */
const SKIPPABLE = Buffer.of(0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4);

/** By its checksum. */
function damaged(compressed: Buffer): Buffer {
  const changed = Buffer.from(compressed);
  changed[changed.length - 1]! ^= 1;
  return changed;
}

describe('is refused, with where and why', () => {
  const span = { traceId: 'ab', spanId: 'cd', name: 'x' };
  test.each<[string, string | Uint8Array, RegExp]>([
    ['nothing', '', /^empty$/],
    ['nothing, compressed', gzipSync(''), /^empty$/],
    ['text', 'hello', /^not JSON, and not an ExportTraceServiceRequest in protobuf/],
    ['JSON that ends too soon', '{"resourceSpans":[', /./],
    ['a line that is none', `${json(one)}\n{"resourceSpans":7}\n`, /^line 2: .*resourceSpans/],
    ['metrics', '{"resourceMetrics":[]}', /^no spans: does it hold metrics or logs\?$/],
    [
      'ids that are none',
      JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
      /^span 0 .*trace id of 1 bytes/,
    ],
    ['a length that is too long', withLengths(one).subarray(0, -1), /^ends within request 1$/],
    ['half a length', Buffer.concat([withLengths(one), Buffer.of(0, 0)]), /^ends within request 2$/],
    [
      'a length before what is damaged',
      withLengths(one, Buffer.from('{"resourceSpans":7}')),
      /^request 2: not an ExportTraceServiceRequest in JSON: .*resourceSpans/,
    ],
    ['gzip that is cut off', gzipSync(one).subarray(0, -1), /^its gzip data is cut off$/],
    ['gzip that is damaged', damaged(gzipSync(one)), /^its gzip data is damaged: /],
    ['zstd that is cut off', ZSTD_ONE.subarray(0, -1), /^the zstd frame at byte 0 of \d+ is cut off$/],
    [
      'a frame that is cut off',
      Buffer.concat([ZSTD_ONE, ZSTD_ONE.subarray(0, 9)]),
      new RegExp(`^the zstd frame at byte ${ZSTD_ONE.length} of \\d+ is cut off$`),
    ],
    [
      'a frame and something else',
      Buffer.concat([ZSTD_ONE, Buffer.from('hello')]),
      new RegExp(`^there is no zstd frame at byte ${ZSTD_ONE.length} of \\d+$`),
    ],
    [
      'a skippable frame that is cut off',
      Buffer.concat([ZSTD_ONE, SKIPPABLE.subarray(0, -1)]),
      new RegExp(`^the zstd frame at byte ${ZSTD_ONE.length} of \\d+ is cut off$`),
    ],
    ['skippable frames alone', Buffer.concat([SKIPPABLE, SKIPPABLE]), /^empty$/],
    [
      'a request whose frame is damaged',
      withLengths(ZSTD_ONE, damaged(ZSTD_ONE)),
      /^request 2: the zstd frame at byte 0 of \d+ is damaged: /,
    ],
  ])('%s', async (_, content, problem) => {
    expect(await read(content)).toEqual({ ok: false, problem: expect.stringMatching(problem) as string });
  });
});

const zstdEach = (payloads: readonly Uint8Array[]) =>
  withLengths(...payloads.map((each) => zstdCompressSync(each)));
const jsonOf = (payload: Uint8Array) => Buffer.from(json(payload));

const FORMS: Readonly<Record<string, (payloads: readonly Uint8Array[]) => Buffer>> = {
  'format: json': lines,
  'format: proto': (payloads) => withLengths(...payloads),
  'format: json, compression: zstd': (payloads) => zstdEach(payloads.map(jsonOf)),
  'format: proto, compression: zstd': zstdEach,
};

/** The whole, in pieces. */
const inPieces = (compress: (bytes: Buffer) => Buffer) => (bytes: Buffer, at: number) =>
  Buffer.concat([compress(bytes.subarray(0, at)), compress(bytes.subarray(at))]);

const WRAPPINGS: Readonly<Record<string, (bytes: Buffer, at: number) => Buffer>> = {
  'as it is': (bytes) => bytes,
  gzip: inPieces((bytes) => gzipSync(bytes)),
  zstd: inPieces((bytes) => zstdCompressSync(bytes)),
  'zstd after skippable frames': inPieces((bytes) => Buffer.concat([SKIPPABLE, zstdCompressSync(bytes)])),
  'zstd before skippable frames': inPieces((bytes) => Buffer.concat([zstdCompressSync(bytes), SKIPPABLE])),
};

const request = requestTree.requestTree
  .filter((tree) => requestTree.spansOf(tree).length > 0)
  .map((tree) => requestTree.bytesOf(tree));
const requests = fc.array(request, { minLength: 1, maxLength: 3 });
const form = fc.constantFrom(...Object.keys(FORMS));

test('any requests are read in any form in which they are written', async () => {
  await fc.assert(
    fc.asyncProperty(
      requests,
      form,
      fc.constantFrom(...Object.keys(WRAPPINGS)),
      fc.nat(),
      async (payloads, how, wrapping, at) => {
        const bytes = FORMS[how]!(payloads);
        const file = await read(WRAPPINGS[wrapping]!(bytes, at % bytes.length));
        if (!file.ok) throw new Error(file.problem);
        expect(file.requests.map((each) => spansOf([each]))).toEqual(payloads.map((each) => spansOf([each])));
      },
    ),
    { numRuns: 120 },
  );
});

test('what is compressed and cut off is refused, wherever it ends', async () => {
  await fc.assert(
    fc.asyncProperty(
      requests,
      form,
      fc.constantFrom(gzipSync, zstdCompressSync),
      fc.nat(),
      async (payloads, how, compress, cut) => {
        const bytes = compress(FORMS[how]!(payloads));
        const file = await read(bytes.subarray(0, 4 + (cut % (bytes.length - 4))));
        expect(file).toEqual({ ok: false, problem: expect.stringMatching(/is cut off$/) as string });
      },
    ),
  );
});

const BOTH = lines([one, two]);

test.each<[string, Buffer, number]>([
  ['gzip', WRAPPINGS['gzip']!(BOTH, 9), BOTH.length],
  ['zstd in one frame', zstdCompressSync(BOTH), BOTH.length],
  ['zstd in several frames', WRAPPINGS['zstd']!(BOTH, 9), BOTH.length],
  ['each request', zstdEach([one, two]), one.length + two.length],
])('compressed (%s), it has no more than the limit when it is not', async (_, bytes, size) => {
  expect(await read(bytes, size)).toMatchObject({ ok: true });
  const { problem } = (await read(bytes, size - 1)) as { problem?: string };
  expect(problem).toContain(`decompressed it has more than ${size - 1} bytes: send it in parts`);
});
