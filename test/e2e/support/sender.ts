import { setTimeout as pause } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { createOtlpClient } from '../../stack/otlp-client.ts';
import type { ClientFiles, OtlpClient } from '../../stack/otlp-client.ts';
import { makeTrace, requestOf, toProtobuf } from './traces.ts';
import type { OtlpRequest, TestTrace } from './traces.ts';

export type Sender = OtlpClient & {
  /** Sends the request, and throws unless it is answered 200. */
  send(request: OtlpRequest): Promise<void>;
};

export async function createSender(url: string, files: ClientFiles): Promise<Sender> {
  const client = await createOtlpClient(url, files);
  return {
    ...client,
    async send(otlp) {
      const { status, body } = await client.post(toProtobuf(otlp));
      if (status !== 200) throw new Error(`answered ${status}: ${body.toString('utf8')}`);
    },
  };
}

export type Stream = {
  /** Traces that were answered 200, in that order. */
  readonly acknowledged: readonly TestTrace[];
  /** Resolves when `count` more than at this moment are. */
  acknowledge(count: number): Promise<void>;
  /** The trace in hand is sent until it is taken; rejects if there was an answer that no client should get. */
  stop(): Promise<void>;
};

/**
 * Traces one after the other, until stopped. Each is sent until it is answered 200, as an exporter does that never
 * gives up. Only a lost connection is tried again: no relay here is stopped in order or full, so that it could have
 * reason to refuse.
 */
export function streamTraces(sender: Sender, everyMs: number, make = () => makeTrace(3)): Stream {
  const acknowledged: TestTrace[] = [];
  let progress = Promise.withResolvers<void>();
  const stopping = new AbortController();
  const testOver = new AbortController();
  onTestFinished(() => testOver.abort());

  async function sendUntilTaken(trace: TestTrace): Promise<void> {
    const body = toProtobuf(requestOf(trace.spans));
    while (!testOver.signal.aborted) {
      const status = await sender.post(body).then(
        (answer) => answer.status,
        () => 'no answer' as const,
      );
      if (status === 200) return;
      if (status !== 'no answer') throw new Error(`a trace was answered ${status}`);
      await pause(20);
    }
    throw new Error('a trace was not taken before the test was over');
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted && !testOver.signal.aborted) {
      const trace = make();
      await sendUntilTaken(trace);
      acknowledged.push(trace);
      progress.resolve();
      progress = Promise.withResolvers();
      await pause(everyMs);
    }
  }

  const running = run();
  // Whoever waits for progress gets the error as well.
  running.catch((error: unknown) => progress.reject(error));
  return {
    acknowledged,
    async acknowledge(count) {
      const wanted = acknowledged.length + count;
      while (acknowledged.length < wanted) await progress.promise;
    },
    stop() {
      stopping.abort();
      return running;
    },
  };
}
