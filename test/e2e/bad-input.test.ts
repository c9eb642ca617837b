import { deflateSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Status } from '../../src/otlp/schema.ts';
import { expectStored } from './support/compare.ts';
import {
  DEADLINE_MS,
  accountOf,
  clientFiles,
  expectBalanced,
  isReady,
  metric,
  startTestRelay,
  waitUntilDelivered,
} from './support/relay.ts';
import { beginRequest } from './support/slow-request.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from './support/traces.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack.stop());

const LIMIT = 64 * 1024;
const PROTOBUF = toProtobuf(requestOf(makeTrace(4).spans));
const JSON_BODY = JSON.stringify(requestOf(makeTrace(4).spans));
const AS_JSON = { 'content-type': 'application/json' };
const AS_GZIP = { 'content-encoding': 'gzip' };
const HALF = PROTOBUF.subarray(0, PROTOBUF.length / 2);
const TOO_LARGE = toProtobuf(requestOf(makeTrace(1, { attributes: { text: 'x'.repeat(LIMIT) } }).spans));

/** What is sent, with which headers; the answer's status, and what its message must say. */
const CASES: Record<string, [Uint8Array | string, Record<string, string>, number, RegExp]> = {
  'text in place of protobuf': ['this is no protobuf', {}, 400, /at byte \d+/],
  'random bytes': [Buffer.from('ff00ff00ff00ff00', 'hex'), {}, 400, /at byte \d+/],
  'protobuf cut off': [HALF, {}, 400, /at byte \d+/],
  'protobuf in place of JSON': [PROTOBUF, AS_JSON, 400, /JSON/],
  'JSON cut off': [JSON_BODY.slice(0, -10), AS_JSON, 400, /JSON/],
  'JSON of something else': ['{"resourceSpans": 7}', AS_JSON, 400, /resourceSpans/],
  'JSON in place of protobuf': [JSON_BODY, {}, 400, /./],
  'gzip that is none': [PROTOBUF, AS_GZIP, 400, /gzip/],
  'gzip cut off': [gzipSync(PROTOBUF).subarray(0, -12), AS_GZIP, 400, /gzip/],
  'gzip of something else': [gzipSync('no protobuf'), AS_GZIP, 400, /at byte \d+/],
  'deflate in place of gzip': [deflateSync(PROTOBUF), AS_GZIP, 400, /gzip/],
  'text/plain': [PROTOBUF, { 'content-type': 'text/plain' }, 415, /application\/x-protobuf/],
  'an unknown content encoding': [PROTOBUF, { 'content-encoding': 'br' }, 415, /br/],
  'a body over the limit': [TOO_LARGE, {}, 413, /65536|64 ?KiB/],
  'a body over the limit once it is unpacked': [gzipSync(TOO_LARGE), AS_GZIP, 413, /65536|64 ?KiB/],
  'a very small body that unpacks to 256 MiB': [gzipSync(Buffer.alloc(2 ** 28)), AS_GZIP, 413, /./],
};

/** Where the encoding of the request is not known, the answer is for people. */
const isText = (headers: Record<string, string>) =>
  headers === AS_JSON || headers['content-type'] === 'text/plain';

test('what is no OTLP is answered with words; the relay stays up and loses nothing', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, {
    experiment: { id: experiment },
    more: { receiver: { max_request_body_size: '64KiB' } },
  });
  const pid = relay.pid();
  const good = [makeTrace(), makeTrace()] as const;
  await relay.sender.send(requestOf(good[0].spans));
  for (const [name, [body, headers, status, words]] of Object.entries(CASES)) {
    const answer = await relay.sender.post(body, headers);
    const contentType = answer.headers['content-type'];
    const isJson = contentType === 'application/json';
    const error = isJson ? JSON.parse(answer.body.toString()) : Status.toObject(Status.decode(answer.body));
    expect({ name, status: answer.status, contentType, message: error.message }).toEqual({
      name,
      status,
      contentType: isText(headers) ? 'application/json' : 'application/x-protobuf',
      message: expect.stringMatching(words) as string,
    });
  }
  const undecodable = Object.values(CASES).filter(([, , status]) => status === 400).length;
  expect(await metric(relay, 'requests_total{code="400"}')).toBe(undecodable);
  const abandoned = await beginRequest(relay.url, clientFiles(stack), PROTOBUF);
  abandoned.abandon();

  expect(await isReady(relay)).toBe(true);
  await relay.sender.send(requestOf(good[1].spans));
  await waitUntilDelivered(relay);
  expect(relay.pid()).toBe(pid);
  const account = await accountOf(relay);
  expect(account).toMatchObject({ accepted: 4, deadLetters: 0 });
  expectBalanced(account);
  await expect
    .poll(() => relay.logLines(), { timeout: DEADLINE_MS })
    .toContainEqual(
      expect.objectContaining({ msg: 'request refused', status: 400, reason: 'undecodable' }) as object,
    );
  await expectStored(stack.mlflow, experiment, good);
});

test('of a request with impossible ids the good spans are taken, and the others counted', async () => {
  const relay = await startTestRelay(stack);
  const [good, bad] = [makeTrace(2), makeTrace(1)];
  const badSpan = { ...bad.spans[0]!, spanId: '0000000000000000' };
  const body = JSON.stringify(requestOf([badSpan, ...good.spans]));
  const answer = await relay.sender.post(body, AS_JSON);
  expect(answer.status).toBe(200);
  const { partialSuccess } = JSON.parse(answer.body.toString());
  expect(partialSuccess).toMatchObject({
    rejectedSpans: '1',
    errorMessage: expect.stringMatching(/span.?id/i),
  });
  expect(await metric(relay, 'refused_spans_total{reason="invalid_span"}')).toBe(1);
  const stored = await stack.mlflow.waitForTrace(good.traceId, { spans: 2 });
  await expectStored(stack.mlflow, stored.experimentId, [good]);
  expectBalanced(await accountOf(relay));
});

test('broken text is mended: its span and the others reach MLflow, and one of its kinds is left out', async () => {
  const relay = await startTestRelay(stack);
  const [broken, good, bad] = [makeTrace(1), makeTrace(2), makeTrace(1)];
  const spans = [
    { ...broken.spans[0]!, name: 'NAME' },
    ...good.spans,
    { ...bad.spans[0]!, attributes: { n: 'HUGE' } },
  ];
  const text = JSON.stringify(requestOf(spans));
  const body = text
    .replace('NAME', 'cut \\ud83d')
    .replace('{"stringValue":"HUGE"}', '{"intValue":18446744073709551616}');
  const answer = await relay.sender.post(body, AS_JSON);
  expect(answer.status).toBe(200);
  expect(JSON.parse(answer.body.toString()).partialSuccess).toMatchObject({
    rejectedSpans: '1',
    errorMessage: expect.stringContaining('intValue'),
  });
  const [span] = broken.spans;
  const mark = 'U+FFFD in place of broken text: Span.name';
  const attributes = { ...span!.attributes, 'relay.repaired': mark };
  const mended = { ...broken, spans: [{ ...span!, name: 'cut \ufffd', attributes }] };
  await stack.mlflow.waitForTrace(broken.traceId, { spans: 1 });
  const stored = await stack.mlflow.waitForTrace(good.traceId, { spans: 2 });
  await expectStored(stack.mlflow, stored.experimentId, [good, mended]);
  expect(await metric(relay, 'mended_spans_total')).toBe(1);
  expectBalanced(await accountOf(relay));
});
