import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ProtobufWriter } from '../../src/otlp/protobuf-writer.ts';
import { isText, writeMended } from '../../src/otlp/utf8.ts';
import { hex } from './bytes.ts';

function mended(bytes: Uint8Array): Buffer {
  const writer = new ProtobufWriter(0);
  // Within more bytes, so that it must keep to its own.
  writeMended(Buffer.concat([hex('f0'), bytes, hex('80bf')]), 1, 1 + bytes.length, writer);
  return Buffer.from(writer.finish());
}

test.each([
  ['ff', '\ufffd'],
  ['61 ff 62', 'a\ufffdb'],
  ['e282', '\ufffd'],
  ['e282 41', '\ufffdA'],
  ['f09f98', '\ufffd'],
  ['f09f98 f09f9880', '\ufffd😀'],
  // No characters of two or three bytes that are written in more, no surrogates, nothing beyond U+10FFFF.
  ['c080', '\ufffd\ufffd'],
  ['e08080', '\ufffd\ufffd\ufffd'],
  ['eda080', '\ufffd\ufffd\ufffd'],
  ['f4908080', '\ufffd\ufffd\ufffd\ufffd'],
  ['f48fbfbf', '\u{10ffff}'],
  ['c3a9 80 c3a9', 'é\ufffdé'],
])('%s is mended as WHATWG has it', (bytes, text) => {
  expect(mended(hex(bytes)).toString()).toBe(text);
});

test('property: any bytes become what a TextDecoder and a Buffer make of them', () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 5 }),
    fc.string({ unit: 'binary', maxLength: 4 }).map((text) => Buffer.from(text)),
    fc
      .constantFrom('e2', 'e282', 'f0', 'f09f', 'f09f98', 'ed', 'eda0', 'f4', 'f48f', 'c3', '80', 'e0')
      .map(hex),
  );
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let broken = 0;
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const bytes = new Uint8Array(Buffer.concat(pieces));
      const text = decoder.decode(bytes);
      expect(mended(bytes).toString()).toBe(text);
      expect(Buffer.from(bytes).toString()).toBe(text);
      const isGood = isText(bytes, 0, bytes.length);
      if (!isGood) broken++;
      expect(mended(bytes).equals(bytes)).toBe(isGood);
    }),
    { numRuns: 5000 },
  );
  expect(broken).toBeGreaterThan(1000);
});
