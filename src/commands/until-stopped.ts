import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';

/**
 * The life of the process around a service: SIGTERM and SIGINT stop it within `deadlineMs`, then exit 0; a
 * second one exits 1 at once; what nobody caught is logged and exits 1. Rejects when the start does.
 */
export async function untilStopped(
  start: () => Promise<{ stop(deadlineMs: number): Promise<void> }>,
  deadlineMs: number,
  log: Logger,
): Promise<void> {
  const asked = Promise.withResolvers<NodeJS.Signals>();
  let signals = 0;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (++signals > 1) {
        log.warn({ signal }, 'second signal: exiting at once');
        process.exit(1);
      }
      asked.resolve(signal);
    });
  }
  // A promise that nobody handles comes here as well. The state after a bug is unknown: the disk has what was
  // answered 200, and a new process starts from there.
  process.on('uncaughtException', (error, origin) => {
    log.fatal({ err: error, origin }, 'unexpected error: exiting');
    process.exit(1);
  });

  const service = await start();
  const signal = await asked.promise;
  log.info({ signal, deadlineMs }, 'stopping');
  try {
    await service.stop(deadlineMs);
  } catch (error) {
    log.fatal({ err: error }, `could not stop cleanly: ${messageOf(error)}`);
    process.exit(1);
  }
  // Nothing is left to do: a handle that something forgot must not keep the process.
  process.exit(0);
}
