import { setTimeout as pause } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import type { OtlpClient } from '../../stack/otlp-client.ts';
import type { StoredSpan } from '../../stack/mlflow-client.ts';
import { makeTrace, requestOf, toProtobuf } from '../../e2e/support/traces.ts';
import type { Random } from './random.ts';

/** A request of the load, and what came of it. */
export type LoadRequest = {
  readonly body: Buffer;
  readonly spans: readonly StoredSpan[];
  /** How many times it went out; the relay may have it as often, acknowledged or not. */
  attempts: number;
  /** Answered 200, and the answer was read to its end. */
  acknowledged: boolean;
};

export type Load = {
  /** All that ever went out, in that order. */
  readonly requests: readonly LoadRequest[];
  /** Resolves when `count` more requests than at this moment are acknowledged. */
  acknowledge(count: number): Promise<void>;
  /** Senders finish what is in their hands and wait; so `acknowledge` waits as well. */
  pause(): void;
  resume(): void;
  /** What is in hand is sent until it is taken or dropped. Rejects if there was an answer that no client should get. */
  stop(): Promise<void>;
};

export type LoadOptions = {
  readonly client: Pick<OtlpClient, 'post'>;
  readonly random: Random;
  readonly senders: number;
  /** Largest attribute of a span, in characters; many are smaller. */
  readonly maxAttribute: number;
  /** True while so much is under way that the senders wait: the load never runs away from MLflow. */
  readonly isEnough: (acknowledgedSpans: number) => boolean;
};

const AGAIN_MS = 50;

/** Of the tries that got no answer, those after which a request is given up, as an SDK does; else it is sent again. */
const DROPPED_SHARE = 0.05;

/**
 * Several senders with whole traces, traces split over requests of different senders, and some whose root never
 * comes. Only a lost connection and 503 are tried again; any other answer than 200 ends the load.
 */
export function startLoad(options: LoadOptions): Load {
  const { client, random, senders, maxAttribute, isEnough } = options;
  const requests: LoadRequest[] = [];
  const pieces: StoredSpan[][] = [];
  const acknowledged = { requests: 0, spans: 0 };
  let isPaused = false;
  const stopping = new AbortController();
  // A test that fails does not stop it.
  const testOver = new AbortController();
  onTestFinished(() => {
    stopping.abort();
    testOver.abort();
  });
  let progress = Promise.withResolvers<void>();

  /** Adds the spans of a new trace to what is to be sent. */
  function makePieces(): void {
    const filler = 'x'.repeat(random.below(maxAttribute + 1));
    const { spans } = makeTrace(1 + random.below(20), { attributes: { filler } });
    const isRootless = spans.length > 1 && random.chance(0.1);
    const sent = isRootless ? spans.slice(0, -1) : spans;
    const cut = random.chance(0.5) ? 1 + random.below(sent.length) : sent.length;
    pieces.push(sent.slice(0, cut));
    // In any order and beside other traces.
    if (cut < sent.length) pieces.splice(random.below(pieces.length + 1), 0, sent.slice(cut));
  }

  function nextRequest(): LoadRequest {
    const count = 1 + random.below(3);
    while (pieces.length < count + senders) makePieces();
    const spans = pieces.splice(0, count).flat();
    const request = { body: toProtobuf(requestOf(spans)), spans, attempts: 0, acknowledged: false };
    requests.push(request);
    return request;
  }

  async function send(request: LoadRequest): Promise<void> {
    while (!testOver.signal.aborted) {
      request.attempts++;
      const status = await client.post(request.body).then(
        (answer) => answer.status,
        () => 'no answer' as const,
      );
      if (status === 200) {
        request.acknowledged = true;
        acknowledged.requests++;
        acknowledged.spans += request.spans.length;
        progress.resolve();
        progress = Promise.withResolvers();
        return;
      }
      if (status !== 'no answer' && status !== 503) throw new Error(`a request was answered ${status}`);
      if (random.chance(DROPPED_SHARE)) return;
      await pause(AGAIN_MS);
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      if (isPaused || isEnough(acknowledged.spans)) await pause(AGAIN_MS);
      else await send(nextRequest());
    }
  }

  const running = Promise.all(Array.from({ length: senders }, run));
  // Whoever waits for progress gets the error as well.
  running.catch((error: unknown) => {
    stopping.abort();
    progress.reject(error);
  });
  return {
    requests,
    async acknowledge(count) {
      const wanted = acknowledged.requests + count;
      while (acknowledged.requests < wanted) await progress.promise;
    },
    pause: () => (isPaused = true),
    resume: () => (isPaused = false),
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
