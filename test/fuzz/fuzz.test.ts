import { describe, expect, test } from 'vitest';
import { ExportTraceServiceRequest } from '../../src/otlp/schema.ts';
import { scanTraces } from '../../src/otlp/wire.ts';
import { seeded } from '../fault/support/random.ts';
import { len, requestOf, TRACE_ID } from '../otlp/bytes.ts';
import { createSharedBody, openBodyInHand } from './body-in-hand.ts';
import { readCorpus } from './corpus.ts';
import { bytesOfFields, fieldsOfBytes, placesOf } from './field-tree.ts';
import { bodyOf, fuzz } from './fuzz.ts';
import { generateRequest } from './generate.ts';
import { RELAY, inspect, inspectJson, isFinding } from './inspect.ts';
import type { Subject } from './inspect.ts';
import { shrink } from './shrink.ts';

// Google's runtime, which needs Python, is asked in google.test.ts.

describe('the bodies', () => {
  test('are the same for the same seed, and others for another', () => {
    expect(bodyOf(1, 7)).toEqual(bodyOf(1, 7));
    expect(bodyOf(2, 7)).not.toEqual(bodyOf(1, 7));
    // Nothing that one of them changes is shared with the next.
    const before = bodyOf(1, 50);
    for (let index = 0; index < 200; index++) bodyOf(3, index);
    expect(bodyOf(1, 50)).toEqual(before);
  });

  test('before they are mutated they have every field of the schema, and parse', () => {
    const seen = new Set<string>();
    let accepted = 0;
    for (let seed = 0; seed < 500; seed++) {
      const fields = generateRequest(seeded(seed));
      if (scanTraces(bytesOfFields(fields)).ok) accepted++;
      const collect = (type: typeof ExportTraceServiceRequest, list: typeof fields) => {
        for (const field of list) {
          if (field.kind === 'raw') continue;
          seen.add(type.fieldsById[field.number]?.fullName ?? '');
          if (field.kind === 'message') collect(field.type, field.fields);
        }
      };
      collect(ExportTraceServiceRequest, fields);
    }
    const all = [...new Set([...seen].map((name) => name.slice(0, name.lastIndexOf('.'))))];
    expect(all.length).toBeGreaterThan(10);
    for (const field of lengthDelimited(ExportTraceServiceRequest)) expect(seen).toContain(field);
    // A few are deeper than parsers go.
    expect(accepted).toBeGreaterThan(450);
  });

  test('a tree gives its bytes back, with the lengths set right', () => {
    for (let seed = 0; seed < 200; seed++) {
      const bytes = bytesOfFields(generateRequest(seeded(seed)));
      const fields = fieldsOfBytes(bytes, ExportTraceServiceRequest)!;
      const again = bytesOfFields(fields);
      // Lengths that were longer than they must be are not.
      expect(bytesOfFields(fieldsOfBytes(again, ExportTraceServiceRequest)!)).toEqual(again);
      const places = placesOf(fields);
      places[seed % places.length]?.fields.splice(0, 1);
      expect(fieldsOfBytes(bytesOfFields(fields), ExportTraceServiceRequest)).toBeDefined();
    }
  });
});

/** Names of all fields that are no numbers, of all messages within a type. */
function lengthDelimited(type: typeof ExportTraceServiceRequest, known = new Set([type])): string[] {
  return type.fieldsArray.flatMap((field) => {
    const { resolvedType } = field.resolve();
    if (resolvedType === null) return ['string', 'bytes'].includes(field.type) ? [field.fullName] : [];
    if (!('fieldsArray' in resolvedType)) return [];
    if (known.has(resolvedType)) return [field.fullName];
    known.add(resolvedType);
    return [field.fullName, ...lengthDelimited(resolvedType, known)];
  });
}

describe('what was kept', () => {
  test.each(readCorpus().map((kept) => [kept.name, kept] as const))('%s', (_name, { isJson, bytes }) => {
    const result = isJson ? inspectJson(RELAY, bytes) : inspect(RELAY, bytes);
    expect(isFinding(result) ? result : undefined).toBeUndefined();
  });
});

test('5,000 bodies, and most of them pass framing', async () => {
  const { tally, failure } = await fuzz({ subject: RELAY, seed: 1, count: 5_000 });
  expect(failure).toBeUndefined();
  expect(tally.bodies).toBe(5_000);
  expect(tally.accepted).toBeGreaterThan(2_500);
  expect(tally.changedTexts).toBeGreaterThan(1_000);
  expect(tally.rests).toBeGreaterThan(200);
});

describe('what is broken is found', () => {
  const broken: Record<string, [Partial<Subject>, string]> = {
    'a walk that throws at a name': [
      {
        scanTraces(payload) {
          if (Buffer.from(payload).includes('chat')) throw new Error('chat');
          return scanTraces(payload);
        },
      },
      'scanTraces throws',
    ],
    'an index without the last span': [
      { indexSpans: (payload) => RELAY.indexSpans(payload).slice(0, 2) },
      'indexSpans: count',
    ],
    'a cut that keeps the first span': [
      { cutSpans: (payload, isKept) => RELAY.cutSpans(payload, (index) => index === 0 || isKept(index)) },
      'cutSpans: spans',
    ],
    'a rest that is no request': [
      {
        siftTraces: (payload, most) => {
          const sifted = RELAY.siftTraces(payload, most);
          return sifted.ok && sifted.mendedSpanCount > 0
            ? { ...sifted, payload: Uint8Array.of(0x0f) }
            : sifted;
        },
      },
      'siftTraces: framing',
    ],
    'JSON that fails': [{ encodeTracesJsonNow: () => ({ ok: false, message: 'no' }) }, 'JSON: refused'],
    'JSON that becomes something else': [
      { encodeTracesJsonNow: () => ({ ok: true, payload: Uint8Array.of(0x0f) }) },
      'JSON: framing',
    ],
  };

  test.each(Object.entries(broken))('%s', async (_what, [part, kind]) => {
    const { failure } = await fuzz({ subject: { ...RELAY, ...part }, seed: 1, count: 1_000 });
    expect(failure).toMatchObject({ kind });
    expect(failure!.shrunk.length).toBeLessThan(failure!.body.length);
    expect(failure!.shrunk.length).toBeLessThan(100);
  });
});

const stillFails = async (bytes: Uint8Array) =>
  scanTraces(bytes).ok && Buffer.from(bytes).includes('culprit');

describe('shrinking', () => {
  test('leaves the one span that fails, framed', async () => {
    const culprit = len(5, 'culprit');
    const body = requestOf(
      ...Array.from({ length: 20 }, () => len(1, Buffer.from(TRACE_ID, 'hex'))),
      Buffer.concat([len(1, 'x'.repeat(300)), culprit, len(9, len(1, 'key'))]),
    );
    const shrunk = await shrink(body, stillFails, { tries: 2_000, ms: 60_000 });
    expect(await stillFails(shrunk)).toBe(true);
    expect(shrunk.length).toBeLessThanOrEqual(requestOf(culprit).length);
  });

  test('ends after so many tries', async () => {
    let tries = 0;
    const body = new Uint8Array(1_000);
    const shrunk = await shrink(body, async () => ++tries < 0, { tries: 50, ms: 60_000 });
    expect(shrunk).toBe(body);
    expect(tries).toBe(50);
  });
});

test('the body in hand is there for another thread', () => {
  const shared = createSharedBody();
  const [worker, watcher] = [openBodyInHand(shared), openBodyInHand(shared)];
  expect(watcher.look()).toBeUndefined();
  worker.begin(7, Uint8Array.of(1, 2, 3));
  expect(watcher.look()).toMatchObject({ index: 7, body: Uint8Array.of(1, 2, 3) });
  worker.end();
  expect(watcher.look()).toBeUndefined();
});
