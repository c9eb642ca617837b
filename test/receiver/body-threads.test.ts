import { execFile } from 'node:child_process';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { encodeTracesJsonNow } from '../../src/otlp/json-encoder.ts';
import { createJsonThread } from '../../src/otlp/json-thread.ts';
import { encodeTracesJson } from '../../src/otlp/json.ts';
import { SPAN_ID, TRACE_ID } from './bytes.ts';

const MIB = 1024 * 1024;

function bodyOf(bytes: number, name: string): Buffer {
  const spans: unknown[] = [];
  const span = {
    traceId: TRACE_ID,
    spanId: SPAN_ID,
    name: name.repeat(1000),
    startTimeUnixNano: '1726300000123456789',
  };
  for (let size = 0; size < bytes; size += 1000) spans.push(span);
  return Buffer.from(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] }));
}

describe('large bodies', () => {
  test('are encoded beside the event loop, with the same result', async () => {
    const body = bodyOf(2 * MIB, 'a');
    const copy = Buffer.from(body);
    const encoded = encodeTracesJson(body);
    const first = await Promise.race([encoded.then(() => 'encoded'), setImmediate('event loop')]);
    expect(first).toBe('event loop');
    const expected = encodeTracesJsonNow(body);
    const result = await encoded;
    expect(result.ok && expected.ok && Buffer.compare(result.payload, expected.payload)).toBe(0);
    expect(body.equals(copy)).toBe(true);
  });

  test('their errors come back', async () => {
    const body = Buffer.concat([bodyOf(2 * MIB, 'a'), Buffer.from('}')]);
    expect(await encodeTracesJson(body)).toEqual(encodeTracesJsonNow(body));
    const wrong = Buffer.from(JSON.stringify({ resourceSpans: [7], future: 'x'.repeat(2 * MIB) }));
    expect(await encodeTracesJson(wrong)).toEqual({
      ok: false,
      message: 'not an ExportTraceServiceRequest in JSON: resourceSpans[0]: expected an object; found 7',
    });
  });

  test('the process ends by itself when they are done', async () => {
    const script = `
      import { encodeTracesJson } from ${JSON.stringify(new URL('../../src/otlp/json.ts', import.meta.url).href)};
      const body = Buffer.from(JSON.stringify({ resourceSpans: [], future: 'x'.repeat(${2 * MIB}) }));
      console.log((await encodeTracesJson(body)).ok, (await encodeTracesJson(body)).ok);`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    expect(stdout).toBe('true true\n');
  });
});

describe('a thread that dies', () => {
  test.each(['exit', 'throw'])('costs the body it had, and no other: %s', async (way) => {
    const encode = createJsonThread(new URL('./mortal-worker.ts', import.meta.url));
    const results = await Promise.all(['a', way, 'b', 'c'].map((text) => encode(Buffer.from(text))));
    expect(results).toMatchObject([
      { ok: true },
      { ok: false, crashed: true, message: expect.stringMatching(/^the thread that encodes JSON ended: /) },
      { ok: true },
      { ok: true },
    ]);
    expect(await encode(Buffer.from('d'))).toMatchObject({
      ok: true,
      payload: new Uint8Array(Buffer.from('d')),
    });
  });

  test('between two bodies costs neither', async () => {
    const encode = createJsonThread(new URL('./mortal-worker.ts', import.meta.url));
    const ended = new Promise((resolve) =>
      process.once('worker', (worker: Worker) => worker.once('exit', resolve)),
    );
    expect(await encode(Buffer.from('a'))).toMatchObject({ ok: true });
    expect(await encode(Buffer.from('later'))).toMatchObject({ ok: true });
    await ended;
    expect(await encode(Buffer.from('b'))).toMatchObject({ ok: true });
  });
});

test('no body fills the memory: brackets are skipped, not built', async () => {
  const script = `
    import { encodeTracesJsonNow } from ${JSON.stringify(new URL('../../src/otlp/json-encoder.ts', import.meta.url).href)};
    const body = Buffer.from('{"x":[' + '{},'.repeat(4_000_000) + '{}]}');
    console.log(encodeTracesJsonNow(body).ok);`;
  const flags = ['--max-old-space-size=64', '--input-type=module', '-e', script];
  const { stdout } = await promisify(execFile)(process.execPath, flags);
  expect(stdout).toBe('true\n');
});
