import { StackError, waitFor } from './processes.ts';
import type { Exit, StartedProcess } from './processes.ts';

export type Service = {
  /** Of the current process; undefined when it was stopped. */
  pid(): number | undefined;
  /** Resolves when it answers. */
  start(): Promise<void>;
  /** Sends the signal (SIGTERM unless given), and waits until it and all its children have ended. */
  stop(signal?: NodeJS.Signals): Promise<Exit | undefined>;
  /** Rejects when it ends without having been stopped. */
  readonly failed: Promise<never>;
};

export type ServiceOptions = {
  /** For messages. */
  name: string;
  launch: () => StartedProcess;
  logFile: string;
  /** Answers 200 when the service is ready; for one without HTTP, whatever tells that it is. */
  healthUrl: string | (() => Promise<boolean>);
  readyDeadlineMs: number;
  stopDeadlineMs: number;
  /** Gives up waiting, and stops what was started. */
  signal?: AbortSignal | undefined;
};

/** A program that can be stopped and started again. It is not started yet. */
export function createService(options: ServiceOptions): Service {
  const { name, launch, logFile, healthUrl, readyDeadlineMs, stopDeadlineMs, signal } = options;
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  let running: StartedProcess | undefined;

  async function stop(kill: NodeJS.Signals = 'SIGTERM'): Promise<Exit | undefined> {
    const stopped = running;
    running = undefined;
    return stopped?.stop(kill, stopDeadlineMs);
  }

  async function watch(started: StartedProcess): Promise<void> {
    await started.exited;
    if (running === started) {
      running = undefined;
      failure.reject(new StackError(`${name} ended by itself; its log is ${logFile}`));
    }
  }

  async function start(): Promise<void> {
    if (running !== undefined) throw new Error(`${name} is running`);
    signal?.throwIfAborted();
    const started = launch();
    running = started;
    try {
      await waitFor(
        `${name} did not answer`,
        readyDeadlineMs,
        async () => {
          if (started.hasExited()) {
            throw new StackError(`${name} did not start; the end of ${logFile}:\n${started.tail(12)}`);
          }
          if (typeof healthUrl !== 'string') return (await healthUrl()) ? true : undefined;
          const response = await fetch(healthUrl, { signal: AbortSignal.timeout(5_000) });
          if (!response.ok) throw new Error(`${response.status} ${(await response.text()).slice(0, 1000)}`);
          return true;
        },
        { signal },
      );
    } catch (error) {
      const end = started.hasExited() ? '' : `\nthe end of ${logFile}:\n${started.tail(12)}`;
      await stop();
      throw error instanceof StackError ? new StackError(error.message + end) : error;
    }
    watch(started).catch(failure.reject);
  }

  return { pid: () => running?.pid, start, stop, failed: failure.promise };
}
