import fc from 'fast-check';
import type { SpanSlice } from '../../src/otlp/wire.ts';
import { group, join, len, tag, varint } from './bytes.ts';

/** A request as a tree: what is cut at, and bytes that are carried along. */
export type Tree = readonly (
  | { readonly raw: Uint8Array }
  | ({ readonly span: Uint8Array } & Omit<SpanSlice, 'bytes'>)
  | { readonly fieldNumber: number; readonly fields: Tree }
)[];

export function bytesOf(tree: Tree): Uint8Array {
  return join(
    ...tree.map((node) => {
      if ('raw' in node) return node.raw;
      return 'span' in node ? len(2, node.span) : len(node.fieldNumber, bytesOf(node.fields));
    }),
  );
}

export type SpanNode = Extract<Tree[number], { span: Uint8Array }>;

export function spansOf(tree: Tree): SpanNode[] {
  return tree.flatMap((node) => {
    if ('raw' in node) return [];
    return 'span' in node ? [node] : spansOf(node.fields);
  });
}

/** Only these spans, and no message that was left without one. */
export function filterTree(tree: Tree, kept: ReadonlySet<SpanNode>): Tree {
  return tree.flatMap((node): Tree => {
    if ('raw' in node) return [node];
    if ('span' in node) return kept.has(node) ? [node] : [];
    const fields = filterTree(node.fields, kept);
    return spansOf(fields).length > 0 ? [{ ...node, fields }] : [];
  });
}

const shuffled = (tree: Tree): fc.Arbitrary<Tree> =>
  fc.shuffledSubarray([...tree], { minLength: tree.length, maxLength: tree.length });

const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });

/** A field that is not in the schema, of any wire type. */
const unknownField: fc.Arbitrary<Uint8Array> = fc.letrec<{ field: Uint8Array }>((tie) => ({
  field: fc.integer({ min: 20, max: 2 ** 29 - 1 }).chain((number) =>
    fc.oneof(
      { maxDepth: 3 },
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => join(tag(number, 0), varint(value))),
      bytes(8, 8).map((value) => join(tag(number, 1), value)),
      bytes(0, 200).map((value) => len(number, value)),
      bytes(4, 4).map((value) => join(tag(number, 5), value)),
      fc.array(tie('field'), { maxLength: 3 }).map((fields) => group(number, ...fields)),
    ),
  ),
})).field;

/** A field of the schema with another wire type than its own counts as unknown. */
const misplaced = (numbers: readonly number[]): fc.Arbitrary<Uint8Array> =>
  fc.constantFrom(...numbers).map((number) => join(tag(number, 0), varint(1)));

const unknowns = (numbers: readonly number[]): fc.Arbitrary<{ raw: Uint8Array }[]> =>
  fc
    .array(fc.oneof(unknownField, misplaced(numbers)), { maxLength: 2 })
    .map((fields) => fields.map((raw) => ({ raw })));

const text = fc.string({ unit: 'binary', maxLength: 90 });

const attribute = fc
  .tuple(
    text,
    fc.oneof(
      text.map((value) => len(1, value)),
      fc.nat().map((value) => join(tag(3, 0), varint(value))),
    ),
  )
  .map(([key, value]) => join(len(1, key), len(2, value)));

/** What a span may have beside its name and attributes: an event, a link, a status. */
const details = fc.subarray([
  len(11, len(2, 'event'), len(3, len(1, 'k'), len(2, len(5, len(1, len(1, 'é')))))),
  len(13, len(1, 'trace'), len(3, 'state'), len(4, len(1, 'k'), len(2, len(6, len(1, len(1, 'in')))))),
  len(15, len(2, 'message'), tag(3, 0), varint(2)),
  len(3, 'a=b'),
]);

// Few traces, so that they mix.
const traceId = fc.constantFrom('0a', '0b', 'c0').map((byte) => byte.repeat(16));

const parentId = fc.oneof(fc.constant(new Uint8Array()), fc.constant(new Uint8Array(8)), bytes(8, 8));

const endTime = fc.oneof(fc.constant(new Uint8Array()), fc.constant(new Uint8Array(8)), bytes(8, 8));

const span: fc.Arbitrary<SpanNode> = fc
  .tuple(
    traceId,
    bytes(7, 7).map((rest) => Buffer.of(0xf1, ...rest)),
    parentId,
    endTime,
    text,
    fc.array(attribute, { maxLength: 3 }),
    details,
    unknowns([1, 2, 4, 9]),
  )
  .chain(([trace, id, parent, end, name, attributes, more, others]) =>
    shuffled([
      { raw: len(1, Buffer.from(trace, 'hex')) },
      { raw: len(2, id) },
      ...(end.length > 0 ? [{ raw: join(tag(8, 1), end) }] : []),
      ...(parent.length > 0 ? [{ raw: len(4, parent) }] : []),
      { raw: len(5, name) },
      ...attributes.map((content) => ({ raw: len(9, content) })),
      ...more.map((raw) => ({ raw })),
      ...others,
    ]).map((fields) => ({
      span: bytesOf(fields),
      traceId: trace,
      idHigh: id.readInt32BE(0),
      idLow: id.readInt32BE(4),
      isRoot: parent.every((byte) => byte === 0),
      hasEnd: end.some((byte) => byte !== 0),
    })),
  );

/** What stands beside the children: a resource or scope with an attribute, a schema_url, unknown fields. */
const around = (attributesField: number): fc.Arbitrary<Tree> =>
  fc.tuple(attribute, text, unknowns([1, 2, 3])).map(([content, url, others]): Tree => {
    const own = [{ raw: len(1, len(attributesField, content)) }, { raw: len(3, url) }];
    return own.concat(others);
  });

const scopeSpans: fc.Arbitrary<Tree[number]> = fc
  .tuple(around(3), fc.array(span, { maxLength: 4 }))
  .chain(([others, spans]) => shuffled([...others, ...spans]))
  .map((fields) => ({ fieldNumber: 2, fields }));

const resourceSpans: fc.Arbitrary<Tree[number]> = fc
  .tuple(around(1), fc.array(scopeSpans, { maxLength: 3 }))
  .chain(([others, scopes]) => shuffled([...others, ...scopes]))
  .map((fields) => ({ fieldNumber: 1, fields }));

/** Valid requests with fields in any order, unknown fields everywhere, and several traces mixed. */
export const requestTree: fc.Arbitrary<Tree> = fc
  .tuple(unknowns([1]), fc.array(resourceSpans, { maxLength: 3 }))
  .chain(([others, resources]) => shuffled([...others, ...resources]));
