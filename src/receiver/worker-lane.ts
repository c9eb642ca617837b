import { Worker } from 'node:worker_threads';
import { messageOf } from '../errors.ts';
import { RoundRobin } from '../round-robin.ts';

/** What a lane makes of a job; `crashed`: it was not judged, for reasons of the relay's own, and may pass another time. */
export type LaneResult<Result> =
  { done: true; result: Result } | { done: false; crashed: string } | undefined;

export type LaneJob<Result> = {
  /** Undefined: it was withdrawn before it began. */
  readonly result: Promise<LaneResult<Result>>;
  /** Takes a job back that waits; one that has begun is finished. */
  withdraw(): void;
};

type Waiting<Message, Result> = {
  readonly message: Message;
  readonly transfer: readonly ArrayBuffer[];
  readonly begin: () => void;
  readonly settle: (result: LaneResult<Result>) => void;
};

/**
 * A worker thread that does one job after the other, of all senders in turn, so that who sends many delays itself and
 * nobody else. The thread starts with the first job, is used again, and keeps the process alive only while it works.
 * Should it end (memory, a bug), or not start, the job it had comes to `crashed`, and the next one gets a new thread.
 */
export class WorkerLane<Message, Result> {
  readonly #file: URL;
  readonly #maxHeapMib: number;
  readonly #waiting = new RoundRobin<Waiting<Message, Result>>();
  #worker: Worker | undefined;
  #current: Waiting<Message, Result> | undefined;

  /** @param file of the worker, which answers each message with one */
  constructor(file: URL, maxHeapMib: number) {
    this.#file = file;
    this.#maxHeapMib = maxHeapMib;
  }

  /**
   * @param transfer buffers that the thread gets when the job begins, and not before
   * @param begin is called then
   */
  run(
    sender: string,
    message: Message,
    transfer: readonly ArrayBuffer[],
    begin: () => void = () => {},
  ): LaneJob<Result> {
    const { promise, resolve } = Promise.withResolvers<LaneResult<Result>>();
    const job = { message, transfer, begin, settle: resolve };
    this.#waiting.add(sender, job);
    this.#next();
    return {
      result: promise,
      withdraw: () => {
        if (this.#waiting.remove(sender, job)) resolve(undefined);
      },
    };
  }

  #next(): void {
    while (this.#current === undefined) {
      const job = this.#waiting.next();
      if (job === undefined) return;
      this.#current = job;
      job.begin();
      try {
        const worker = (this.#worker ??= this.#start());
        worker.ref();
        worker.postMessage(job.message, job.transfer);
      } catch (error) {
        // No thread can be had, for want of memory or by a limit of processes. The next job tries again.
        this.#end({ done: false, crashed: messageOf(error) });
      }
    }
  }

  #finish(result: LaneResult<Result>): void {
    this.#end(result);
    this.#next();
  }

  #end(result: LaneResult<Result>): void {
    const job = this.#current;
    this.#current = undefined;
    this.#worker?.unref();
    job?.settle(result);
  }

  #start(): Worker {
    const worker = new Worker(this.#file, {
      // Without the flags of this process: some of them (--input-type) are wrong for a thread.
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: this.#maxHeapMib, maxYoungGenerationSizeMb: 16 },
    });
    const ended = (reason: string) => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      if (this.#current !== undefined) this.#finish({ done: false, crashed: reason });
    };
    worker.on('message', (result: Result) => {
      if (this.#worker === worker) this.#finish({ done: true, result });
    });
    worker.on('error', (error: Error) => ended(error.message));
    worker.on('exit', (code) => ended(`exit code ${code}`));
    return worker;
  }
}
