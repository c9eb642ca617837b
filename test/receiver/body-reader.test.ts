import { execFile } from 'node:child_process';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { encodeTracesJsonNow } from '../../src/otlp/json-encoder.ts';
import { createBodyReader } from '../../src/receiver/body-reader.ts';
import { BodyRoom } from '../../src/receiver/body-room.ts';
import type { BodyFormat } from '../../src/receiver/read-body.ts';
import { tracesJson, tracesProtobuf } from './payloads.ts';

const MIB = 1024 * 1024;
const LIMITS = { maxSize: 16 * MIB, maxOwnBytes: MIB, repair: true, maxMendedSize: 16 * MIB };
const JSON_PLAIN: BodyFormat = { encoding: 'json', compression: 'identity' };
const PROTOBUF_PLAIN: BodyFormat = { encoding: 'protobuf', compression: 'identity' };
const PROTOBUF_GZIP: BodyFormat = { encoding: 'protobuf', compression: 'gzip' };

const names = (bytes: number) => Array.from({ length: bytes / 1000 }, (_, i) => `${i} `.padEnd(1000, 'x'));

/** A MiB of ResourceSpans with nothing in them. */
const EMPTY = Buffer.alloc(MIB, Buffer.from([0x0a, 0]));

/** With one byte that is no UTF-8 in a name. */
function spoilt(payload: Buffer): Buffer {
  payload[payload.indexOf('0 xx')] = 0xff;
  return payload;
}

const noWatch = () => () => {};

/** In blocks of its own, as a body comes. */
function bodyOf(bytes: Buffer, blocks = 1) {
  const size = Math.max(1, Math.ceil(bytes.length / blocks));
  const parts: Buffer<ArrayBuffer>[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const part = Buffer.allocUnsafeSlow(Math.min(size, bytes.length - at));
    bytes.copy(part, 0, at);
    parts.push(part);
  }
  return { blocks: parts, length: bytes.length };
}

function reading(limits = LIMITS) {
  const room = new BodyRoom(1000 * MIB);
  const readBody = createBodyReader(limits);
  return {
    room,
    read: (bytes: Buffer, format: BodyFormat, blocks = 1, sender = 's') =>
      readBody(bodyOf(bytes, blocks), format, room.hold(sender), noWatch),
    readBody,
  };
}

test('a body of up to a MiB is read at once, unless it has far more messages than spans have', async () => {
  const { read } = reading();
  const where = async (body: Buffer) => {
    // Else what the last one took would count.
    await setImmediate();
    const result = read(body, PROTOBUF_PLAIN);
    const first = await Promise.race([result.then(() => 'at once'), setImmediate('beside the loop')]);
    return [first, (await result).ok];
  };
  expect(await where(EMPTY)).toEqual(['beside the loop', true]);
  expect(await where(tracesProtobuf(names(MIB - 100_000)))).toEqual(['at once', true]);
  expect(await where(EMPTY.subarray(0, 200_000))).toEqual(['at once', true]);
});

describe('large bodies', () => {
  test.each([
    ['JSON', tracesJson(names(2 * MIB)), JSON_PLAIN],
    ['protobuf', tracesProtobuf(names(2 * MIB)), PROTOBUF_PLAIN],
    ['compressed', zlib.gzipSync(tracesProtobuf(names(2 * MIB))), PROTOBUF_GZIP],
    ['larger than others', tracesProtobuf(names(10 * MIB)), PROTOBUF_PLAIN],
    ['larger than others once decompressed', zlib.gzipSync(tracesProtobuf(names(10 * MIB))), PROTOBUF_GZIP],
  ])('are read beside the event loop, with the same result: %s', async (_, bytes, format) => {
    const { read } = reading();
    const result = read(bytes, format, 3);
    const first = await Promise.race([result.then(() => 'read'), setImmediate('event loop')]);
    expect(first).toBe('event loop');
    const plain = format.compression === 'gzip' ? zlib.gunzipSync(bytes) : bytes;
    const encoded = format.encoding === 'json' && encodeTracesJsonNow(plain);
    const end = await result;
    const expected = encoded !== false && encoded.ok ? encoded.payload : plain;
    expect(end.ok && Buffer.compare(end.payload, expected)).toBe(0);
    // What is kept of it is no more than its bytes.
    expect(end.ok && end.payload.buffer.byteLength).toBe(expected.length);
  });

  test.each([
    [
      'JSON',
      Buffer.from(
        tracesJson(names(200 * 1024))
          .toString()
          .replace('0 xx', '\\ud800'),
      ),
      JSON_PLAIN,
    ],
    ['protobuf', spoilt(tracesProtobuf(names(200 * 1024))), PROTOBUF_PLAIN],
    ['larger than others', spoilt(tracesProtobuf(names(10 * MIB))), PROTOBUF_PLAIN],
  ])(
    'what has to be mended and is not small is mended beside the event loop: %s',
    async (_, bytes, format) => {
      const { read } = reading();
      const result = read(bytes, format, 3);
      expect(await Promise.race([result.then(() => 'read'), setImmediate('event loop')])).toBe('event loop');
      const end = await result;
      expect(end).toMatchObject({ ok: true, mendedSpanCount: 1, unreadableSpanCount: 0 });
      expect(end.ok && Buffer.from(end.payload).includes('\ufffd')).toBe(true);
      expect(end.ok && end.payload.buffer.byteLength).toBe(end.ok && end.payload.byteLength);
    },
  );

  test('their errors come back', async () => {
    const { read } = reading();
    const json = Buffer.concat([tracesJson(names(2 * MIB)), Buffer.from('}')]);
    expect(await read(json, JSON_PLAIN)).toEqual(encodeTracesJsonNow(json));
    const tooLarge = zlib.gzipSync(Buffer.alloc(17 * MIB));
    expect(await read(tooLarge, PROTOBUF_GZIP)).toEqual({ ok: false, tooLarge: true });
    const cutOff = zlib.gzipSync(tracesProtobuf(names(MIB))).subarray(0, -3);
    expect(await read(cutOff, PROTOBUF_GZIP)).toMatchObject({ ok: false, message: expect.any(String) });
  });

  test('one that waits is withdrawn when its client is gone, and may have to make room', async () => {
    const { readBody, room } = reading();
    const large = tracesJson(names(4 * MIB));
    const start = (withdraw: (fn: () => void) => void) => {
      const hold = room.hold('s');
      const watched = { stopped: false };
      const result = readBody(bodyOf(large), JSON_PLAIN, hold, (fn) => {
        withdraw(fn);
        return () => (watched.stopped = true);
      });
      return { hold, result, watched };
    };
    let leave: (() => void) | undefined;
    const first = start(() => {});
    const second = start((withdraw) => (leave = withdraw));
    const third = start(() => {});
    expect(first.hold.stage).toBe('busy');
    expect(third.hold.stage).toBe('waiting');
    leave!();
    third.hold.evict();
    expect(await second.result).toEqual({ ok: false, withdrawn: true });
    expect(await third.result).toEqual({ ok: false, withdrawn: true });
    expect(await first.result).toMatchObject({ ok: true });
    expect([first, second, third].map(({ watched }) => watched.stopped)).toEqual([true, true, true]);
  });

  test('large ones of one sender do not wait in the way of others', async () => {
    const { read } = reading();
    // The threads are there.
    await Promise.all([
      read(tracesJson(names(10 * MIB)), JSON_PLAIN),
      read(tracesJson(names(MIB)), JSON_PLAIN),
    ]);
    const order: string[] = [];
    const many = Array.from({ length: 6 }, (_, i) =>
      read(tracesJson(names(10 * MIB)), JSON_PLAIN, 1, 'many').then(() => order.push(`many ${i}`)),
    );
    await read(tracesJson(names(MIB)), JSON_PLAIN, 1, 'other').then(() => order.push('other'));
    await Promise.all(many);
    expect(order.indexOf('other')).toBeLessThan(4);
  });
});

const urlOf = (file: string) =>
  JSON.stringify(new URL(`../../src/receiver/${file}.ts`, import.meta.url).href);

test('the process ends by itself when its threads have nothing to do', async () => {
  const script = `
    import { createBodyReader } from ${urlOf('body-reader')};
    import { BodyRoom } from ${urlOf('body-room')};
    const read = createBodyReader(${JSON.stringify(LIMITS)});
    const body = () => ({ blocks: [Buffer.alloc(${2 * MIB}, '{} ')], length: ${2 * MIB} });
    const hold = new BodyRoom(${16 * MIB}).hold('s');
    for (let i = 0; i < 2; i++) {
      const end = await read(body(), { encoding: 'json', compression: 'identity' }, hold, () => () => {});
      console.log(end.message.slice(0, 40));
    }`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  expect(stdout).toBe('not an ExportTraceServiceRequest in JSON\n'.repeat(2));
});

describe('no body fills the heap', () => {
  test.each([
    ['brackets that are skipped', `'{"x":[' + '{},'.repeat(4_000_000) + '{}]}'`, true],
    ['empty messages', `'{"resourceSpans":[' + '{},'.repeat(4_000_000) + '{}]}'`, true],
    [
      'one text of escapes',
      `'{"resourceSpans":[{"schemaUrl":"' + '\\\\u20ac'.repeat(9_000_000) + '"}]}'`,
      true,
    ],
    ['a long name', `'{"\\\\n' + 'x'.repeat(50_000_000) + '":1}'`, true],
    ['a long number that is skipped', `'{"x":' + '1'.repeat(50_000_000) + '}'`, true],
    [
      'a long number',
      `'{"resourceSpans":[{"resource":{"droppedAttributesCount":' + '1'.repeat(50_000_000) + '}}]}'`,
      false,
    ],
    ['brackets within each other', `'{"x":' + '['.repeat(25_000_000) + ']'.repeat(25_000_000) + '}'`, true],
    [
      'a long id',
      `'{"resourceSpans":[{"scopeSpans":[{"spans":[{"spanId":"' + 'ab'.repeat(25_000_000) + '"}]}]}]}'`,
      true,
    ],
  ])('%s', async (_, json, ok) => {
    const script = `
      import { encodeTracesJsonNow } from ${JSON.stringify(new URL('../../src/otlp/json-encoder.ts', import.meta.url).href)};
      const body = Buffer.from(${json});
      console.log(encodeTracesJsonNow(body).ok);`;
    // What the test builds the body from has to fit, too.
    const flags = ['--max-old-space-size=64', '--input-type=module', '-e', script];
    const { stdout } = await promisify(execFile)(process.execPath, flags);
    expect(stdout).toBe(`${ok}\n`);
  });
});
