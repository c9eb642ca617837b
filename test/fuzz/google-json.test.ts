import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeTracesJsonNow } from '../../src/otlp/json-encoder.ts';
import { AnyValue } from '../../src/otlp/schema.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';
import { seeded } from '../fault/support/random.ts';
import { CACHE } from '../stack/install.ts';
import { ensurePythonEnvironment } from '../stack/python.ts';
import { generateJson } from './generate-json.ts';
import { startGoogleJson } from './google-json.ts';
import type { GoogleJson } from './google-json.ts';

const BATCH = 250;

let google: GoogleJson;

beforeAll(async () => {
  google = startGoogleJson((await ensurePythonEnvironment(CACHE)).python);
});
afterAll(() => google?.close());

function payloadOf(text: string): Uint8Array {
  const encoded = encodeTracesJsonNow(Buffer.from(text));
  if (!encoded.ok) throw new Error(`${encoded.message}\n${text}`);
  return encoded.payload;
}

/** The texts that the relay and Google read or write differently, and how. */
async function differences(texts: readonly string[]): Promise<object[]> {
  const asked = texts.map((text) => {
    const payload = payloadOf(text);
    return { text, payload, back: JSON.stringify(tracesToJson(payload)) };
  });
  const verdicts = await google.ask(asked);
  return verdicts.flatMap(({ isSame, isSameBack, error, written }, index) => {
    const { text, back } = asked[index]!;
    const isReadBack = JSON.stringify(tracesToJson(payloadOf(back))) === back;
    const again = JSON.stringify(tracesToJson(payloadOf(written)));
    const isSameFromGoogle = again === back;
    if (isSame && isSameBack && isReadBack && isSameFromGoogle) return [];
    return [{ isSame, isSameBack, isReadBack, isSameFromGoogle, error, text, back, again }];
  });
}

test("the specification's example: the relay and Google's runtime make the same of it, and back", async () => {
  const text = readFileSync(join(import.meta.dirname, 'examples', 'trace.json'), 'utf8');
  expect(await differences([text])).toEqual([]);
});

test("10,000 bodies in JSON: the relay and Google's runtime make the same of them, and back", async () => {
  const random = seeded(16);
  const members = new Set<string>();
  for (let done = 0; done < 10_000; done += BATCH) {
    const texts = Array.from({ length: BATCH }, () => generateJson(random));
    for (const text of texts) for (const [, name] of text.matchAll(/"(\w+)":/g)) members.add(name!);
    // The first few say enough.
    expect((await differences(texts)).slice(0, 3)).toEqual([]);
  }
  const kinds = AnyValue.fieldsArray.flatMap(({ jsonName, protoName }) => [jsonName!, protoName!]);
  expect([...members]).toEqual(expect.arrayContaining(kinds));
});

test('a difference is found, and so is what Google does not read', async () => {
  const text = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]}';
  const payload = payloadOf(text.replace('"a"', '"b"'));
  const verdicts = await google.ask([
    { text, payload, back: text },
    { text: '{"resourceSpans":[1]}', payload, back: text },
  ]);
  expect(verdicts).toMatchObject([
    { isSame: false, isSameBack: false, error: '' },
    { isSame: false, isSameBack: false, error: expect.stringContaining('ParseError') },
  ]);
});
