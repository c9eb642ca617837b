import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scanTraces } from '../../src/otlp/wire.ts';
import type { SpanSlice } from '../../src/otlp/wire.ts';
import { CACHE } from '../stack/install.ts';
import { ensurePythonEnvironment } from '../stack/python.ts';
import { GOOD_IDS, group, hex, join, len, nest, requestOf } from '../otlp/bytes.ts';
import { readCorpus } from './corpus.ts';
import { compare } from './differential.ts';
import { findingOf, fuzz } from './fuzz.ts';
import { startGoogle } from './google.ts';
import type { Google } from './google.ts';
import { RELAY, inspect, inspectJson, isFinding } from './inspect.ts';
import type { Inspected, Subject } from './inspect.ts';

let google: Google;

beforeAll(async () => {
  google = startGoogle((await ensurePythonEnvironment(CACHE)).python);
});
afterAll(() => google?.close());

test("5,000 bodies: the relay and Google's runtime make the same of them", async () => {
  const { tally, failure } = await fuzz({ subject: RELAY, google, seed: 2, count: 5_000 });
  expect(failure).toBeUndefined();
  expect(tally.bodies).toBe(5_000);
  expect(tally.accepted).toBeGreaterThan(2_500);
});

describe('what was kept', () => {
  const kept = Map.groupBy(readCorpus(), ({ isJson }) => (isJson ? 'json' : 'protobuf'));

  test.each(kept.get('protobuf') ?? [])('$name', async ({ bytes }) => {
    expect(await findingOf(RELAY, google, bytes)).toBeUndefined();
  });

  test.each(kept.get('json') ?? [])('$name', async ({ bytes }) => {
    const payload = inspectJson(RELAY, bytes);
    expect(isFinding(payload) ? payload : undefined).toBeUndefined();
    const bodies = payload === undefined ? [] : [{ body: payload as Uint8Array }];
    expect(await google.ask(bodies)).toEqual(bodies.map(() => ({ accepted: true })));
  });
});

describe('each disagreement with a name is one', () => {
  test.each([
    ['a number of more than 64 bits', hex(`a001${'ff'.repeat(9)}02`)],
    ['field number 0 in a group', hex('a301 0001 a401')],
    ['groups one deeper', nest(100, hex(''), (inner) => group(20, inner))],
  ])('%s', async (name, body) => {
    const inspected = inspect(RELAY, body) as Inspected;
    const [facts] = await google.ask([{ body, inspected }]);
    expect(compare(inspected, facts!)).toBe(name);
  });
});

const span = (name: string, more = hex('')) => join(GOOD_IDS, len(5, name), more);

function withoutNames(payload: Uint8Array): Uint8Array {
  const text = Buffer.from(payload)
    .toString('latin1')
    .replaceAll(/one|two/g, 'ONE');
  return new Uint8Array(Buffer.from(text, 'latin1'));
}

/** What the relay's index is, with something else in each span. */
const indexWith = (wrong: Partial<SpanSlice>) => (payload: Uint8Array) =>
  RELAY.indexSpans(payload).map((each) => Object.assign(each, wrong));

const TAKEN_WITHOUT_SPANS = {
  ok: true,
  spanCount: 0,
  invalidSpanCount: 0,
  oversizeSpanCount: 0,
  unreadableSpanCount: 0,
  mendedSpanCount: 0,
} as const;

const WRONG: Readonly<Record<string, Uint8Array>> = {
  'a relay that takes what is no request': hex('0f'),
  'a rest that is no text': requestOf(join(GOOD_IDS, len(5, hex('ff')))),
};

describe('what only another parser can see is found', () => {
  const body = requestOf(span('one'), span('two', len(4, 'parent12')), span('three'));
  const nothing = hex('');
  const broken: Record<string, [Partial<Subject>, string]> = {
    'a relay that takes what is no request': [
      {
        scanTraces: () => scanTraces(nothing),
        indexSpans: () => RELAY.indexSpans(nothing),
        cutSpans: (_payload, isKept) => RELAY.cutSpans(nothing, isKept),
        splitSpans: (_payload, limits) => RELAY.splitSpans(nothing, limits),
        siftTraces: (payload) => ({ ...TAKEN_WITHOUT_SPANS, payload }),
        tracesToJson: () => RELAY.tracesToJson(nothing),
      },
      'only the relay takes it',
    ],
    'a walk that refuses a request': [
      {
        scanTraces: () => ({ ok: false, message: 'because' }),
        siftTraces: () => ({ ok: false, message: 'because' }),
      },
      'only Google takes it',
    ],
    'an index that knows no root': [{ indexSpans: indexWith({ isRoot: false }) }, 'root'],
    'an index with another trace': [{ indexSpans: indexWith({ traceId: 'aa' }) }, 'trace id'],
    'a cut that changes a name': [
      { cutSpans: (payload, isKept) => withoutNames(RELAY.cutSpans(payload, isKept)) },
      'cut: different',
    ],
    'a rest that is no text': [
      {
        siftTraces: (payload) => ({
          ...TAKEN_WITHOUT_SPANS,
          payload: payload.map((byte) => (byte === 0xff ? 0xfe : byte)),
        }),
        scanTraces: (payload) =>
          payload.includes(0xfe)
            ? { ok: true, spanCount: 0, invalidSpanCount: 0 }
            : RELAY.scanTraces(payload),
      },
      'rest: refused by Google',
    ],
    'JSON that changes a name': [
      {
        encodeTracesJsonNow(text) {
          const encoded = RELAY.encodeTracesJsonNow(text);
          return encoded.ok ? { ok: true, payload: Uint8Array.from(withoutNames(encoded.payload)) } : encoded;
        },
      },
      'JSON: different',
    ],
  };

  test.each(Object.entries(broken))('%s', async (what, [part, kind]) => {
    expect(await findingOf({ ...RELAY, ...part }, google, WRONG[what] ?? body)).toMatchObject({ kind });
  });

  test('and the right ones are not', async () => {
    expect(await findingOf(RELAY, google, body)).toBeUndefined();
  });
});
