import { MOST_REPAIR_WORK } from '../../../src/destinations/destination.ts';
import type { Unstorable } from '../../../src/destinations/destination.ts';
import type { StoredAttributes, StoredSpan, StoredValue } from '../../stack/mlflow-client.ts';
import { directDestination } from './destination.ts';
import type { Stack } from './stack.ts';
import { asStored, inOrder, makeTrace, requestOf, toProtobuf } from './traces.ts';
import type { TestTrace } from './traces.ts';

/* Spans that the real MLflow refuses, and what is stored of them once they are mended. */

export type Case = {
  /** Of the root. */
  readonly bad: Partial<StoredSpan>;
  readonly mended: Partial<StoredSpan>;
  readonly words: string;
  /** What MLflow says that its database cannot hold. */
  readonly unstorable?: Unstorable;
};

export const LONG = '😀x'.repeat(150);
export const CUT = '😀x'.repeat(125);
const SESSION_WORDS = 'cut from 300 to 250 characters';
/** What a chat is asked, of which MLflow takes the text for a column. */
export const PROMPT = (text: string) => `{"messages":[{"role":"user","content":"ask ${text}"}]}`;
const END = 1_700_000_001_000_000_000n;

function ofAttributes(bad: StoredAttributes, mended: StoredAttributes, words: string): Case {
  return { bad: { attributes: bad }, mended: { attributes: mended }, words };
}

function ofUnstorable(unstorable: Unstorable, bad: Partial<StoredSpan>, mended: Partial<StoredSpan>): Case {
  const field = bad.name === undefined ? 'attributes' : 'name';
  const what = unstorable === 'NUL' ? 'NUL' : 'half of a surrogate pair';
  return { bad, mended, words: `U+FFFD in place of ${what}: ${field}`, unstorable };
}

function leftOut(attributes: StoredAttributes, why: string): Case {
  return ofAttributes(attributes, {}, `${Object.keys(attributes)[0]}: left out, as ${why}`);
}

/** What MLflow refuses on whatever database. */
export const EVERYWHERE: Record<string, Case> = {
  'a session id': ofAttributes({ 'session.id': LONG }, { 'session.id': CUT }, `session.id: ${SESSION_WORDS}`),
  'a conversation id': ofAttributes(
    { 'gen_ai.conversation.id': LONG },
    { 'gen_ai.conversation.id': CUT },
    `gen_ai.conversation.id: ${SESSION_WORDS}`,
  ),
  'a session id that is a list': leftOut(
    { 'session.id': [LONG] },
    'it is more than 250 characters long and no text',
  ),
  'the name of a trace': ofAttributes(
    { 'mlflow.traceTag.mlflow.traceName': 'n'.repeat(5000) },
    { 'mlflow.traceTag.mlflow.traceName': 'n'.repeat(4096) },
    'mlflow.traceTag.mlflow.traceName: cut from 5000 to 4096 characters',
  ),
  'costs in a text': leftOut({ 'mlflow.llm.cost': '[1,2]' }, 'it is not an object'),
  'costs in a list': leftOut({ 'mlflow.llm.cost': [1, 2] }, 'it is not an object'),
  'a number of costs': leftOut({ 'mlflow.llm.cost': 0.5 }, 'it is not an object'),
  'costs that are texts': leftOut(
    { 'mlflow.llm.cost': '{"total_cost":"1"}' },
    'its total_cost is not a number',
  ),
  'costs in a map that are texts': leftOut(
    { 'mlflow.llm.cost': { total_cost: '1' } },
    'its total_cost is not a number',
  ),
  'tokens that are texts': leftOut(
    { 'mlflow.chat.tokenUsage': '{"input_tokens":"5"}' },
    'its input_tokens is not a number',
  ),
  'a type that is a map': leftOut({ 'mlflow.spanType': { a: 1 } }, 'it is a map and no text'),
  ...Object.fromEntries(
    [
      'gen_ai.operation.name',
      'openinference.span.kind',
      'traceloop.span.kind',
      'ai.operationId',
      'span.type',
      'entity.type',
      'lmnr.span.type',
      'langfuse.observation.type',
    ].map((key) => [`${key} that is a list`, leftOut({ [key]: ['chat'] }, 'it is a list and no text')]),
  ),
  'an operation that is a list in a text': leftOut(
    { 'gen_ai.operation.name': '["chat"]' },
    'it is a list and no text',
  ),
  'a start': {
    bad: { start: 2n ** 64n - 1n, end: END },
    mended: { start: END, end: END },
    words: 'start time: 18446744073709551615 ns replaced by the end time, as MLflow stores less than 2^63',
  },
  'an end': {
    bad: { start: END, end: 2n ** 63n },
    mended: { start: END, end: END },
    words: 'end time: 9223372036854775808 ns replaced by the start time, as MLflow stores less than 2^63',
  },
  'both times': {
    bad: { start: 2n ** 63n, end: 2n ** 63n },
    mended: { start: 2n ** 63n - 1n, end: 2n ** 63n - 1n },
    words: ['start', 'end']
      .map(
        (which) =>
          `${which} time: 9223372036854775808 ns replaced by 9223372036854775807, as MLflow stores less than 2^63`,
      )
      .join('; '),
  },
};

/** What Python cannot write in UTF-8, whatever the database. */
export const HALF_PAIRS: Record<string, Case> = {
  'half of a surrogate pair in a session id': ofUnstorable(
    'surrogates',
    { attributes: { 'session.id': String.raw`"\ud83d!"` } },
    { attributes: { 'session.id': '\ufffd!' } },
  ),
  'half of a surrogate pair in a prompt': ofUnstorable(
    'surrogates',
    { attributes: { 'mlflow.spanInputs': PROMPT(String.raw`\ude00`) } },
    { attributes: { 'mlflow.spanInputs': JSON.parse(PROMPT(String.raw`\ufffd`)) as StoredValue } },
  ),
};

export const ON_SQLITE: Record<string, Case> = {
  'a type that is a list': leftOut({ 'mlflow.spanType': ['LLM'] }, 'it is a list and no text'),
};

export const ON_POSTGRESQL: Record<string, Case> = {
  'NUL in a session id': ofUnstorable(
    'NUL',
    { attributes: { 'session.id': 's\0' } },
    { attributes: { 'session.id': 's\ufffd' } },
  ),
  'NUL as an escape in a user': ofUnstorable(
    'NUL',
    { attributes: { 'user.id': String.raw`"\u0000"` } },
    { attributes: { 'user.id': '\ufffd' } },
  ),
  'NUL in a name': ofUnstorable('NUL', { name: 'n\0' }, { name: 'n\ufffd' }),
  'a user': ofAttributes(
    { 'user.id': 'u'.repeat(9000) },
    { 'user.id': 'u'.repeat(8000) },
    'user.id: cut from 9000 to 8000 characters',
  ),
  'a type': ofAttributes(
    { 'mlflow.spanType': 'T'.repeat(600) },
    { 'mlflow.spanType': 'T'.repeat(500) },
    'mlflow.spanType: cut from 600 to 500 characters',
  ),
};

type Tried = {
  name: string;
  alone: string;
  said: Unstorable | undefined;
  words: unknown;
  state: string | undefined;
  spans: unknown;
};

/**
 * Each is sent alone as it is, then all in one request as they are mended, and read back.
 * @param shown what this MLflow shows of a trace
 */
export async function tryMended(
  stack: Stack,
  cases: Record<string, Case>,
  shown: (trace: TestTrace) => TestTrace = (trace) => trace,
): Promise<{ got: Tried[]; wanted: Tried[] }> {
  const id = await stack.mlflow.ensureExperiment(stack.experimentName());
  const { send, mlflow } = directDestination(stack, { id });
  const mended: Uint8Array[] = [];
  const got: Tried[] = [];
  const wanted: Tried[] = [];
  const traces: string[] = [];
  for (const [name, { bad, mended: good, words, unstorable }] of Object.entries(cases)) {
    const { traceId, spans } = makeTrace(2);
    const [child, root] = spans as [StoredSpan, StoredSpan];
    const payload = toProtobuf(requestOf([child, { ...root, ...bad }]));
    const refusal = await send(payload);
    const said = refusal.kind === 'refused' ? refusal.unstorable : undefined;
    const mending = { unstorable: new Set(said === undefined ? [] : [said]) };
    const repair = mlflow.repair?.(payload, { left: MOST_REPAIR_WORK }, mending);
    mended.push(repair?.payload ?? payload);
    traces.push(traceId);
    const alone = refusal.kind;
    got.push({ name, alone, said, words: [...(repair?.spans ?? [])], state: undefined, spans: [] });
    const attributes = { ...(good.attributes ?? root.attributes), 'relay.repaired': words };
    wanted.push({
      name,
      alone: 'refused',
      said: unstorable,
      words: [[1, words]],
      state: 'OK',
      spans: asStored(shown({ traceId, spans: [child, { ...root, ...good, attributes }] }).spans),
    });
  }
  const together = await send(...mended);
  if (together.kind !== 'delivered') throw new Error(JSON.stringify(together));
  for (const [position, traceId] of traces.entries()) {
    const stored = await stack.mlflow.getTrace(traceId);
    Object.assign(got[position]!, { state: stored?.state, spans: inOrder(stored?.spans ?? []) });
  }
  return { got, wanted };
}
