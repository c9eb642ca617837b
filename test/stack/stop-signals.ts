import { messageOf } from '../../src/errors.ts';

/**
 * Aborted, with the exit code as its reason, by a signal to this process, or when the bootstrap that started it is
 * gone, and with it whoever would press Ctrl-C. Repeated signals change nothing: taking down is bounded in time by
 * itself.
 */
export function onStopSignals(): AbortSignal {
  const stopping = new AbortController();
  for (const [name, number] of [
    ['SIGHUP', 1],
    ['SIGINT', 2],
    ['SIGTERM', 15],
  ] as const) {
    process.on(name, () => stopping.abort(128 + number));
  }
  process.once('disconnect', () => stopping.abort(1));
  process.channel?.unref();
  return stopping.signal;
}

/** Runs a program's main function until it ends or is stopped, and sets the exit code; errors in one line. */
export async function runUntilStopped(
  name: string,
  main: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const signal = onStopSignals();
  try {
    await main(signal);
  } catch (error) {
    if (signal.aborted) {
      process.exitCode = Number(signal.reason);
    } else {
      process.stderr.write(`\n${name}: ${messageOf(error)}\n`);
      process.exitCode = 1;
    }
  }
}
