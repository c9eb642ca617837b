import { Agent, request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startBrokenServer } from '../../e2e/support/broken-server.ts';
import { temporaryFolder } from '../../e2e/support/relay.ts';
import { skipWithout } from '../../e2e/support/skip.ts';
import { makeTrace, toProtobuf, toRequest } from '../../e2e/support/traces.ts';
import { howMany } from '../support/run.ts';
import { fileOf, peerPortOf, readSystemCalls } from '../support/system-calls.ts';
import type { SystemCall } from '../support/system-calls.ts';
import { createTracedRelay } from '../support/traced-relay.ts';

const REQUESTS = howMany({ short: 150, long: 1000 });
/** Of the queue, whose segments are a sixteenth of it: several begin, and all fits. */
const QUEUE_SIZE = '16MiB';
const ATTRIBUTE = howMany({ short: 24_000, long: 12_000 });
const SENDERS = 6;
const MIN_SEGMENTS = 3;

type Answered = { readonly id: string; readonly port: number };

/** Sends one request after the other on one connection; each has its id near the beginning of its payload. */
async function sendAll(url: string, ids: string[]): Promise<Answered[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const filler = 'x'.repeat(ATTRIBUTE);
  const answered: Answered[] = [];
  for (let id = ids.pop(); id !== undefined; id = ids.pop()) {
    const { spans } = makeTrace(1, { attributes: { filler } });
    const body = toProtobuf(toRequest({ resource: { 'service.name': id }, spans }));
    const post = request(`${url}/v1/traces`, {
      agent,
      method: 'POST',
      headers: { 'content-type': 'application/x-protobuf', 'content-length': body.length },
    });
    post.end(body);
    const [answer] = (await once(post, 'response')) as [IncomingMessage];
    const port = answer.socket.localPort ?? 0;
    await buffer(answer);
    expect(answer.statusCode).toBe(200);
    answered.push({ id, port });
  }
  agent.destroy();
  return answered;
}

/** The n-th 200 on a connection belongs to the n-th request that was sent on it. */
function answersById(calls: readonly SystemCall[], answered: readonly Answered[]): Map<string, SystemCall> {
  const byPort = new Map<number, SystemCall[]>();
  for (const call of calls) {
    const port = peerPortOf(call);
    if (port === undefined || !call.args.includes('"HTTP/1.1 200')) continue;
    byPort.set(port, [...(byPort.get(port) ?? []), call]);
  }
  const answers = new Map<string, SystemCall>();
  for (const { id, port } of answered) {
    const answer = byPort.get(port)?.shift();
    if (answer !== undefined) answers.set(id, answer);
  }
  return answers;
}

type Written = { readonly call: SystemCall; readonly segment: string };

/** The write that carried each request's frame, and its segment. */
function writesById(calls: readonly SystemCall[], segments: string): Map<string, Written> {
  const writes = new Map<string, Written>();
  for (const call of calls) {
    const segment = fileOf(call);
    if (!/^p?write/.test(call.name) || !segment?.startsWith(segments)) continue;
    const ids = [...call.args.matchAll(/request-\d{5}/g)].map(([id]) => id);
    const lengths = [...call.args.matchAll(/iov_len=(\d+)/g)].map(([, length]) => Number(length));
    // What a short write leaves is written without an id to tell it by; a local disk does not write short.
    if (ids.length > 0 && Number(call.result) !== lengths.reduce((sum, length) => sum + length, 0))
      throw new Error(`a write took ${call.result} bytes of ${lengths.join(' + ')}`);
    for (const id of ids) {
      if (writes.has(id)) throw new Error(`${id} was written twice`);
      writes.set(id, { call, segment });
    }
  }
  return writes;
}

/** Whether one of these calls on the file lies wholly between two others. */
function isBetween(calls: readonly SystemCall[], file: string, from: SystemCall, to: SystemCall): boolean {
  return calls.some(
    (call) =>
      fileOf(call) === file && call.result === '0' && call.began > from.ended && call.ended < to.began,
  );
}

describe.skipIf(skipWithout('strace'))('by the system calls', () => {
  test('each 200 is written after the fdatasync of its record, and after the fsync of the directory of a new segment', async () => {
    const relay = await createTracedRelay(await temporaryFolder(), {
      // Nothing leaves the queue.
      upstream: await startBrokenServer(),
      queueSize: QUEUE_SIZE,
    });
    onTestFinished(async () => void (await relay.stop()));
    await relay.start();
    const ids = Array.from({ length: REQUESTS }, (_, index) => `request-${String(index).padStart(5, '0')}`);
    const left = [...ids];
    const url = `http://127.0.0.1:${relay.port}`;
    const answered = (await Promise.all(Array.from({ length: SENDERS }, () => sendAll(url, left)))).flat();
    await relay.stop();
    expect(answered.map(({ id }) => id).toSorted()).toEqual(ids);

    const calls = await readSystemCalls(relay.traceFile);
    const answers = answersById(calls, answered);
    const writes = writesById(calls, relay.segments);
    const syncs = calls.filter(({ name }) => name === 'fdatasync' || name === 'fsync');
    const creations = new Map(
      calls
        .filter(({ name, args }) => name === 'openat' && args.includes('O_CREAT'))
        .map((call) => [/"([^"]*)"/.exec(call.args)?.[1], call]),
    );
    expect([...writes.keys()].toSorted()).toEqual(ids);
    const early: string[] = [];
    for (const id of ids) {
      const answer = answers.get(id);
      const { call: write, segment } = writes.get(id)!;
      const creation = creations.get(segment);
      if (answer === undefined || creation === undefined) throw new Error(`${id} is not in the trace`);
      if (!isBetween(syncs, segment, write, answer)) early.push(`${id} before its record was synced`);
      if (!isBetween(syncs, relay.segments, creation, answer)) early.push(`${id} before the directory was`);
    }
    expect(early).toEqual([]);
    expect(new Set([...writes.values()].map(({ segment }) => segment)).size).toBeGreaterThanOrEqual(
      MIN_SEGMENTS,
    );
  });
});
