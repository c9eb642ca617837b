import { parentPort, workerData } from 'node:worker_threads';
import { fuzz } from './fuzz.ts';
import type { Failure, Tally } from './fuzz.ts';
import { startGoogle } from './google.ts';
import { RELAY } from './inspect.ts';
import { openBodyInHand } from './body-in-hand.ts';

/*
 * A thread that does the work of a run, so that another one can see it hang, and outlive it where it uses up its memory.
 */

export type WorkerOrder = {
  readonly seed: number;
  readonly count: number;
  readonly python: string;
  readonly shared: SharedArrayBuffer;
};
export type WorkerNews =
  { readonly progress: Tally } | { readonly result: { tally: Tally; failure?: Failure } };

const { seed, count, python, shared } = workerData as WorkerOrder;
const inHand = openBodyInHand(shared);
const google = startGoogle(python);
const port = parentPort!;
function tell(news: WorkerNews): void {
  port.postMessage(news);
}
try {
  const result = await fuzz({
    subject: RELAY,
    google,
    seed,
    count,
    onBody: inHand.begin,
    onInspected: inHand.end,
    onBatch: (progress) => tell({ progress }),
  });
  tell({ result });
} finally {
  await google.close();
}
