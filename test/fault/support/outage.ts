import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { LoadEnd, LoadNews, LoadOrder } from './outage-load.ts';
import type { Seen, SinkNews, SinkOrder } from './outage-sink.ts';

/** An upstream that takes all at once, and can be away. Ends with the test. */
export type Sink = {
  readonly url: string;
  come(): Promise<void>;
  go(): Promise<void>;
  /** Of one that is there. */
  seen(): Promise<Seen>;
};

/** There at first, so that its address is known. */
export async function startSink(): Promise<Sink> {
  const child = start('outage-sink.ts');
  async function order(isThere: boolean): Promise<string> {
    child.send({ isThere } satisfies SinkOrder);
    const [{ url }] = (await once(child, 'message')) as [SinkNews];
    return url;
  }
  const url = await order(true);
  return {
    url,
    come: async () => void (await order(true)),
    go: async () => void (await order(false)),
    seen: async () => (await (await fetch(`${url}/seen`)).json()) as Seen,
  };
}

/** Senders under way. */
export type Load = {
  /** Of the requests that were answered, in that order; ms. */
  readonly latencies: readonly number[];
  readonly bytes: () => number;
  /** Requests of each sender that were answered 200. Rejects where one was answered otherwise. */
  stop(): Promise<number[]>;
};

export function startLoad(order: LoadOrder): Load {
  const child = start('outage-load.ts');
  const latencies: number[] = [];
  let bytes = 0;
  const ended = new Promise<number[]>((resolve, reject) => {
    child.once('exit', () => reject(new Error('the senders have ended')));
    child.on('message', (message: { news: LoadNews } | { end: LoadEnd }) => {
      if ('news' in message) {
        latencies.push(...message.news.latencies);
        bytes += message.news.bytes;
      } else if ('error' in message.end) reject(new Error(message.end.error));
      else resolve(message.end.requests);
    });
  });
  ended.catch(() => {});
  child.send(order);
  return {
    latencies,
    bytes: () => bytes,
    stop() {
      child.send('stop', () => {});
      return ended;
    },
  };
}

function start(file: string): ChildProcess {
  const child = fork(join(import.meta.dirname, file), {
    execArgv: ['--disable-warning=ExperimentalWarning'],
  });
  onTestFinished(() => {
    if (child.connected) child.disconnect();
  });
  return child;
}
