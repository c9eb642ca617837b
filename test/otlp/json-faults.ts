import fc from 'fast-check';
import { SPAN_ID, TRACE_ID } from './bytes.ts';

type Plain = Record<string, unknown>;

/* Text that JSON.stringify would not write is made of text that it does: see `textOf`. */
const number = (digits: string) => `§n${digits}`;
const again = (name: string) => `§d${name}`;

/** The text of a body: with names that come twice, and numbers with all their digits. */
export function textOf(body: unknown): string {
  return JSON.stringify(body)
    .replaceAll(/"§n([^"]*)"/g, '$1')
    .replaceAll('"§d', '"');
}

const HUGE = number('18446744073709551616');

const notText = [5, true, {}, [], number('1e400')];
const notInteger = [HUGE, '18446744073709551616', 1.5, 'x', '', true, {}, [1], number('1'.repeat(70_000))];
const notObject = [5, 'x', true, []];
const notList = [5, 'x', {}, false];
const halfPair = ['\ud800', 'a\udc00b', '\ude00\ud83d'];

/** Values that do not fit, by the name of the field. */
const MISFITS: Readonly<Record<string, readonly unknown[]>> = {
  traceId: ['xyz!', 'abc', 7, {}, `${TRACE_ID}0`],
  spanId: ['AQI=x', 'abc', 7, null, []],
  parentSpanId: ['abc', 12],
  name: notText,
  traceState: notText,
  message: notText,
  key: notText,
  stringValue: notText,
  kind: ['SPAN_KIND_NONE', '3', 1.5, HUGE, {}],
  code: ['ERROR', 1.5, [], 2 ** 31],
  flags: [-1, 2 ** 32, 'x'],
  startTimeUnixNano: [...notInteger, '-1', '2026-01-01'],
  timeUnixNano: notInteger,
  droppedAttributesCount: [...notInteger, -1],
  intValue: notInteger,
  doubleValue: ['0x10', {}, number('1e999'), 'NaNs'],
  boolValue: ['true', 1, {}],
  bytesValue: ['a', '*bc=', 5],
  value: notObject,
  status: notObject,
  arrayValue: notObject,
  kvlistValue: notObject,
  attributes: notList,
  events: notList,
  links: notList,
  values: notList,
};

const span = (name: string, index: number, more: Plain): Plain => ({
  traceId: TRACE_ID,
  spanId: (0x1000 + index).toString(16).padStart(16, '0'),
  name,
  ...more,
});

const text = fc.string({ unit: 'binary', maxLength: 8 });
const value = fc.oneof(
  text.map((stringValue) => ({ stringValue })),
  fc.integer().map((intValue) => ({ intValue })),
  fc.constantFrom(
    { boolValue: true },
    { doubleValue: 1.5 },
    { bytesValue: 'AQI=' },
    {
      arrayValue: {
        values: [{ stringValue: 'a' }, { kvlistValue: { values: [{ key: 'k', value: { intValue: 1 } }] } }],
      },
    },
  ),
);
const attributes = fc.array(fc.record({ key: text, value }), { minLength: 1, maxLength: 3 });
const details = fc.record(
  {
    kind: fc.constantFrom(3, 'SPAN_KIND_SERVER'),
    parentSpanId: fc.constant(SPAN_ID),
    traceState: text,
    flags: fc.constant(1),
    startTimeUnixNano: fc.constantFrom('1', 5),
    attributes,
    events: attributes.map((own) => [{ name: 'e', timeUnixNano: '7', attributes: own }]),
    links: attributes.map((own) => [
      { traceId: TRACE_ID, spanId: SPAN_ID, attributes: own, droppedAttributesCount: 1 },
    ]),
    status: text.map((message) => ({ message, code: 2 })),
  },
  { requiredKeys: [] },
);

/** Resources with scopes with spans, each with details. */
export const jsonRequest = fc.array(
  fc.array(fc.array(details, { maxLength: 3 }), { minLength: 1, maxLength: 2 }),
  {
    minLength: 1,
    maxLength: 3,
  },
);

/** As bodies have it; each span has a name and an id of its own, in order. */
export function bodyOf(resources: readonly (readonly (readonly Plain[])[])[]) {
  let next = 0;
  return {
    resourceSpans: resources.map((scopes, index) => ({
      resource: { attributes: [{ key: 'service.name', value: { stringValue: `r${index}` } }] },
      scopeSpans: scopes.map((spans) => ({
        scope: { name: 's' },
        spans: spans.map((more) => span(`n${next}`, next++, more)),
      })),
    })),
  };
}

export type JsonBody = ReturnType<typeof bodyOf>;

export function spansOfBody({ resourceSpans }: JsonBody): Plain[] {
  return resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans));
}

const NESTED = 120;

/** Puts one fault at one place of a span. @returns whether it is mended; else it costs the span */
export function spoil(
  one: Plain,
  kind: 'misfit' | 'text' | 'twice' | 'oneof' | 'depth',
  place: number,
): boolean {
  const members = membersOf(one).filter(({ key }) => Object.hasOwn(MISFITS, key));
  const { parent, key } = members[place % members.length]!;
  const choice = Math.floor(place / members.length);
  switch (kind) {
    case 'misfit': {
      const misfits = MISFITS[key]!.filter((misfit) => misfit !== null);
      parent[key] = misfits[choice % misfits.length];
      return false;
    }
    case 'text': {
      const texts = members.filter(
        ({ parent: own, key: name }) => MISFITS[name] === notText && typeof own[name] === 'string',
      );
      const at = texts[place % texts.length]!;
      at.parent[at.key] = `${String(at.parent[at.key])}${halfPair[choice % halfPair.length]!}`;
      return true;
    }
    case 'twice':
      parent[again(key)] = parent[key];
      return false;
    case 'oneof':
      one['attributes'] = [{ key: 'k', value: { stringValue: 'a', intValue: 1 } }];
      return false;
    default: {
      let deep: unknown = { stringValue: 'x' };
      for (let level = 0; level < NESTED; level++) deep = { arrayValue: { values: [deep] } };
      one['attributes'] = [{ key: 'k', value: deep }];
      return false;
    }
  }
}

type Member = { readonly parent: Plain; readonly key: string };

function membersOf(of: unknown): Member[] {
  if (Array.isArray(of)) return of.flatMap(membersOf);
  if (typeof of !== 'object' || of === null) return [];
  const parent = of as Plain;
  return Object.keys(parent).flatMap((key) => [{ parent, key }].concat(membersOf(parent[key])));
}
