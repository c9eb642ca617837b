import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { LogObserver } from './log-options.ts';

/** Tells people, in the log and the metrics, what happens inside a log of the queue. */
export function observeLog(
  { log, metrics }: { readonly log: Logger; readonly metrics: Metrics },
  what: 'queue' | 'dead letters',
): LogObserver {
  return {
    ...(what === 'queue' && { synced: (seconds: number) => metrics.queueSyncSeconds.observe(seconds) }),
    damaged(damage) {
      metrics.queueDamagedBytes.inc(damage.bytes);
      const kept =
        damage.keptIn === undefined
          ? 'could not be copied, so that their segment will be kept'
          : 'were set aside';
      log.error(
        { ...damage },
        damage.atEnd
          ? `the last bytes of a segment of the ${what} are no whole record and ${kept}: a write that was cut, or damage`
          : `bytes of the ${what} failed their checksum and ${kept}; records in front of and behind them are delivered`,
      );
    },
    unread: (segment, reason) =>
      log.error(
        { segment, reason },
        `a segment of the ${what} could not be read or sealed at the start; its records are tried when their turn comes`,
      ),
    // One without records is what a killed relay leaves of an idle log.
    notClosed: (segment, records) =>
      log[records === 0 ? 'info' : 'warn'](
        { segment, records },
        `a segment of the ${what} was not closed: the relay was killed, its disk failed, or the file was cut; its whole records are kept`,
      ),
    failing: (reason) =>
      log.error(
        { reason },
        `the disk does not take writes of the ${what}; what is stored stays, trying again`,
      ),
    recovered: () => log.info(`the disk takes writes of the ${what} again`),
  };
}

export function tellDamagedPosition(log: Logger, destination: string, file: string): void {
  log.error(
    { destination, file },
    'the saved position of this destination is damaged: all that is in the queue is delivered to it again, but for what its ledger tells',
  );
}
