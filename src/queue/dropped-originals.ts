import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Notice } from '../telemetry/notice.ts';

const DROPPED =
  'the oldest originals of spans that were delivered repaired are dropped, as they take more than a sixteenth of queue.max_size (spans: how many since this was last said)';

/** @returns what counts dropped originals, and tells of them once a minute */
export function countDropped({ log, metrics }: { readonly log: Logger; readonly metrics: Metrics }) {
  const notice = new Notice();
  return (destination: string, spans: number): void => {
    metrics.discardedSpans.inc({ destination }, spans);
    metrics.droppedOriginalSpans.inc({ destination }, spans);
    const sum = notice.due(performance.now(), spans);
    if (sum !== undefined) log.warn({ destination, spans: sum }, DROPPED);
  };
}
