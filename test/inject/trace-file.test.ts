import { describe, expect, test } from 'vitest';
import { agentTrace } from '../../src/inject/agent-trace.ts';
import { sentTraces } from '../../src/inject/sent-spans.ts';
import { readTraceFile } from '../../src/inject/trace-file.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';

const ENDED_AT = 1_700_000_000_000;
const one = agentTrace('one', {}, ENDED_AT).payload;
const two = agentTrace('two', {}, ENDED_AT).payload;
const json = (payload: Uint8Array, indent?: number) =>
  JSON.stringify(tracesToJson(payload), undefined, indent);

/** As the Collector's file exporter with `format: proto`. */
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
  ])('%s', async (_, content, expected) => {
    const file = await readTraceFile(Buffer.from(content));
    if (!file.ok) throw new Error(file.problem);
    expect(file.requests).toHaveLength(expected.length);
    expect(spansOf(file.requests)).toEqual(spansOf(expected));
  });
});

describe('is refused, with where and why', () => {
  const span = { traceId: 'ab', spanId: 'cd', name: 'x' };
  test.each<[string, string | Uint8Array, RegExp]>([
    ['nothing', '', /^is empty$/],
    ['text', 'hello', /^not an ExportTraceServiceRequest in protobuf/],
    ['JSON that ends too soon', '{"resourceSpans":[', /./],
    ['a line that is none', `${json(one)}\n{"resourceSpans":7}\n`, /^line 2: .*resourceSpans/],
    ['metrics', '{"resourceMetrics":[]}', /^has no spans: does it hold metrics or logs\?$/],
    [
      'ids that are none',
      JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
      /^span 0 .*trace id of 1 bytes/,
    ],
    ['a length that is too long', withLengths(one).subarray(0, -1), /^ends within request 1$/],
    ['half a length', Buffer.concat([withLengths(one), Buffer.of(0, 0)]), /^ends within request 2$/],
  ])('%s', async (_, content, problem) => {
    const file = await readTraceFile(Buffer.from(content));
    expect(file).toEqual({ ok: false, problem: expect.stringMatching(problem) as string });
  });
});
