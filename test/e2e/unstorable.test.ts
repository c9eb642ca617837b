import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MOST_REPAIR_WORK } from '../../src/destinations/destination.ts';
import type { Postgres } from '../stack/postgres.ts';
import { ensurePreviousMlflow } from '../stack/python.ts';
import type { StoredAttributes, StoredSpan } from '../stack/mlflow-client.ts';
import { directDestination } from './support/destination.ts';
import { PROMPT } from './support/mended.ts';
import {
  DEADLINE_MS,
  accountOf,
  expectBalanced,
  metric,
  senderNamed,
  startTestRelay,
  waitUntilDelivered,
} from './support/relay.ts';
import { skipWithout } from './support/skip.ts';
import { startStackOnPostgres, TRACKING } from './support/stack-on-postgres.ts';
import type { OwnStack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf, toRequest } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

/* What PostgreSQL cannot hold in a text, in each place of a span that may have it. */

type Bad = {
  readonly span?: Partial<StoredSpan>;
  readonly resource?: StoredAttributes;
  /** Also an attribute of the resource: bytes in base64. */
  readonly bytes?: string;
};
/** What MLflow does with it as it came. */
type Answer = 'refused' | 'stored' | 'refused by 3.17';

const NUL = 'a\0b';
const ESCAPE = String.raw`a\u0000b`;
const HALF = String.raw`\ud83d`;
const attributes = (key: string, value: string | string[]): Bad => ({
  span: { attributes: { [key]: value } },
});
const event = (name: string, more: StoredAttributes): Bad => ({
  span: { events: [{ name, time: 1_700_000_000_000_000_001n, attributes: more }] },
});
const quoted = (text: string) => `"${text}"`;

const PLACES: readonly [string, Bad, Answer][] = [
  ['the name of a span', { span: { name: NUL } }, 'refused'],
  ['a session id', attributes('session.id', NUL), 'refused'],
  ['a session id, as an escape in quotes', attributes('session.id', quoted(ESCAPE)), 'refused'],
  ['a session id, as a text about it', attributes('session.id', ESCAPE), 'stored'],
  ['a session id, half a pair', attributes('session.id', quoted(HALF)), 'refused'],
  ['a user', attributes('user.id', NUL), 'refused'],
  ['a type', attributes('mlflow.spanType', NUL), 'refused'],
  ['a model', attributes('gen_ai.request.model', NUL), 'refused'],
  ['a model, half a pair in a list', attributes('gen_ai.request.model', `["${HALF}"]`), 'refused'],
  ['a tag', attributes('mlflow.traceTag.x', NUL), 'refused'],
  ['the key of a tag', attributes(`mlflow.traceTag.${NUL}`, 'v'), 'stored'],
  ['a prompt', attributes('mlflow.spanInputs', PROMPT(ESCAPE)), 'refused by 3.17'],
  ['a prompt, half a pair', attributes('mlflow.spanInputs', PROMPT(HALF)), 'refused'],
  ['a prompt, as a text about it', attributes('mlflow.spanInputs', PROMPT(`\\${ESCAPE}`)), 'stored'],
  ['a prompt that is no chat', attributes('mlflow.spanInputs', NUL), 'stored'],
  ['a prompt of another convention', attributes('gen_ai.input.messages', PROMPT(ESCAPE)), 'refused by 3.17'],
  ['a response', attributes('mlflow.spanOutputs', PROMPT(ESCAPE)), 'refused by 3.17'],
  ['JSON in JSON', attributes('mlflow.spanInputs', JSON.stringify(PROMPT(ESCAPE))), 'stored'],
  ['a prompt in an event', event('gen_ai.content.prompt', { 'gen_ai.prompt': NUL }), 'refused by 3.17'],
  ['another attribute', attributes('k', NUL), 'stored'],
  ['another attribute, half a pair', attributes('k', quoted(HALF)), 'stored'],
  ['a list', attributes('k', [NUL]), 'stored'],
  ['the key of an attribute', attributes(NUL, 'v'), 'stored'],
  ['the name of an event', event(NUL, {}), 'stored'],
  ['an attribute of an event', event('e', { k: NUL }), 'stored'],
  ['a status', { span: { status: { code: 'STATUS_CODE_ERROR', message: NUL } } }, 'stored'],
  ['a resource', { resource: { 'process.command_line': NUL } }, 'refused'],
  ['a resource, as an escape', { resource: { 'process.command_line': quoted(ESCAPE) } }, 'stored'],
  ['a list of a resource', { resource: { 'process.command_args': [NUL] } }, 'stored'],
  ['bytes of a resource', { bytes: 'YQBi' }, 'refused'],
  ['the key of a resource', { resource: { [NUL]: 'v' } }, 'stored'],
];

function payloadOf(spans: readonly StoredSpan[], resource: StoredAttributes, bytes?: string): Buffer {
  const request = toRequest({ resource, spans });
  if (bytes === undefined) return toProtobuf(request);
  const { attributes: given } = request.resourceSpans[0]!.resource as { attributes: object[] };
  given.push({ key: 'host.id', value: { bytesValue: bytes } });
  return toProtobuf(request);
}

const VERSIONS = [
  { version: '3.17', isBefore318: true, python: async () => (await ensurePreviousMlflow()).python },
  { version: '3.18', isBefore318: false, python: () => Promise.resolve(undefined) },
];

describe.skipIf(skipWithout('postgres')).each(VERSIONS)(
  'MLflow $version on PostgreSQL',
  ({ isBefore318, python }) => {
    const finishers: (() => Promise<void>)[] = [];
    let postgres: Postgres;
    let stack: OwnStack;
    beforeAll(async () => {
      const other = await python();
      const options = other === undefined ? {} : { python: { directory: '', python: other, id: '' } };
      ({ postgres, stack } = await startStackOnPostgres((finish) => finishers.push(finish), {
        workers: 1,
        ...options,
      }));
    });
    afterAll(async () => {
      for (const finish of finishers.toReversed()) await finish();
    });

    test('refuses some of what its database cannot hold, takes it mended, and stores the rest as it came', async () => {
      const id = await stack.mlflow.ensureExperiment(stack.experimentName());
      const { send, mlflow } = directDestination(stack, { id });
      const got: unknown[] = [];
      for (const [place, { span = {}, resource = {}, bytes }] of PLACES) {
        const { traceId, spans } = makeTrace(1, span);
        const payload = payloadOf(spans, { 'service.name': 'e2e', ...resource }, bytes);
        const outcome = await send(payload);
        const isRefused = outcome.kind === 'refused';
        const said = isRefused ? outcome.unstorable : undefined;
        const unstorable = new Set(said === undefined ? [] : [said]);
        const repair = mlflow.repair?.(payload, { left: MOST_REPAIR_WORK }, { unstorable });
        const end = isRefused ? await send(repair?.payload ?? payload) : outcome;
        const stored = await storedOf(traceId);
        got.push({
          place,
          answer: isRefused ? 'refused' : 'stored',
          end: end.kind,
          isMended: /\ufffd|\\ufffd|YQBi/.test(stored),
          isMarked: stored.includes(repair?.spans.get(0) ?? 'relay.repaired'),
          isLeft: isRefused && /\\u0000|\\ud83d/.test(stored),
        });
      }
      const wanted = PLACES.map(([place, , answer]) => {
        const isRefused = answer === 'refused' || (answer === 'refused by 3.17' && isBefore318);
        return {
          place,
          answer: isRefused ? 'refused' : 'stored',
          end: 'delivered',
          isMended: isRefused,
          isMarked: isRefused,
          isLeft: false,
        };
      });
      expect(got).toEqual(wanted);
    });

    test('gets what a relay sends: the spans, marked, with U+FFFD, and the others as they came', async () => {
      const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
      const relay = await startTestRelay(stack, { experiment: { id: experiment } });
      const good = makeTrace(3);
      const bad = [
        makeTrace(1, { attributes: { 'mlflow.spanInputs': PROMPT(ESCAPE) } }),
        makeTrace(1, { attributes: { 'mlflow.spanInputs': PROMPT(HALF) } }),
        makeTrace(1, { attributes: { 'user.id': NUL } }),
      ];
      await relay.sender.send(requestOf([good, ...bad].flatMap(({ spans }) => spans)));
      await waitUntilDelivered(relay);
      const account = await accountOf(relay);
      expectBalanced(account);
      expect(account).toMatchObject({ accepted: 6, rejected: 0, waiting: 0 });
      expect(await stack.mlflow.searchTraces(experiment)).toHaveLength(4);
      expect(await storedOf(good.traceId)).not.toContain('relay.repaired');
      for (const { traceId } of bad.slice(1)) expect(await storedOf(traceId)).toContain('U+FFFD in place of');
      expect(await storedOf(bad[2]!.traceId)).toContain('a\ufffdb');
    });

    test(
      'gets all spans of a sender with NUL in its resource, and those of others, in few requests',
      async () => {
        const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
        const relay = await startTestRelay(stack, { experiment: { id: experiment } });
        const bad = await senderNamed(stack, relay.url, 'bad');
        const good = await senderNamed(stack, relay.url, 'good');
        const traces = { bad: [] as TestTrace[], good: [] as TestTrace[] };
        const resource = { 'service.name': 'e2e', 'process.command_line': 'agent\0--verbose\0' };
        // In 50 requests each.
        for (let request = 0; request < 50; request++) {
          const [one, other] = [makeTrace(10), makeTrace(2)];
          traces.bad.push(one);
          traces.good.push(other);
          await bad.post(toProtobuf(toRequest({ resource, spans: one.spans })));
          await good.send(requestOf(other.spans));
        }
        await waitUntilDelivered(relay);
        const account = await accountOf(relay);
        expectBalanced(account);
        const repaired = await metric(relay, 'repaired_spans_total{destination="mlflow"}');
        // Of each request that was under way before the first was mended, the original of one span may be kept.
        expect({ ...account, repaired }).toMatchObject({
          accepted: 600,
          rejected: 0,
          waiting: 0,
          repaired: 500,
        });
        expect(account.deadLetters).toBe(1);
        const refused = await metric(
          relay,
          'upstream_request_duration_seconds_count{destination="mlflow",outcome="refused"}',
        );
        expect(refused).toBeGreaterThan(0);
        expect(refused).toBeLessThan(25);
        expect(await stack.mlflow.searchTraces(experiment)).toHaveLength(100);
        const [{ traceId } = { traceId: '' }] = traces.bad;
        expect(await storedOf(traceId)).toContain('agent\ufffd--verbose\ufffd');
        const marked = `SELECT count(*) FROM spans WHERE experiment_id = ${experiment} AND content LIKE '%relay.repaired%'`;
        expect(await postgres.query(TRACKING, marked)).toBe('500');

        const status = (await relay.status()) as { dead_letters: { held_senders: string[] } };
        expect(status.dead_letters.held_senders).toEqual([]);
        const lines = (await readFile(relay.logFile, 'utf8')).split('\n');
        expect(lines.filter((line) => line.includes('delivered repaired'))).toHaveLength(1);
      },
      3 * DEADLINE_MS,
    );

    /** All that the database has of a trace. */
    function storedOf(traceId: string): Promise<string> {
      const id = `'tr-${traceId}'`;
      return postgres.query(
        TRACKING,
        `SELECT content FROM spans WHERE trace_id = ${id}
       UNION ALL SELECT value FROM trace_tags WHERE request_id = ${id}
       UNION ALL SELECT value FROM trace_request_metadata WHERE request_id = ${id}`,
      );
    }
  },
);
