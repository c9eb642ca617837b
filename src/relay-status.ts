import type { TokenSource } from './auth/token-source.ts';
import type { Delivery, SlowTrace } from './delivery/dispatcher.ts';
import type { DeadLetters, Queue } from './queue/queue.ts';
import type { RelayStatus } from './telemetry/admin-server.ts';
import type { Logger } from './telemetry/logger.ts';
import type { Metrics } from './telemetry/metrics.ts';

/* What a running relay shows of itself: its status, and the metrics that are read and not counted. */

/** What there is to be seen of an upstream. */
export type ShownUpstream = {
  readonly name: string;
  readonly tokens: TokenSource | undefined;
  readonly delivery: Delivery;
};

export function statusOf(
  queue: Queue & { readonly deadLetters: DeadLetters },
  upstreams: readonly ShownUpstream[],
  isListening: boolean,
): RelayStatus {
  const { destinations, canAppend, unconfigured, ...rest } = queue.status();
  const letters = queue.deadLetters.status();
  return {
    ready: canAppend && isListening,
    queue: {
      can_append: canAppend,
      reason: rest.reason,
      bytes: rest.bytes,
      max_bytes: rest.maxBytes,
      segments: rest.segments,
    },
    dead_letters: {
      bytes: letters.bytes,
      max_bytes: letters.maxBytes,
      repaired_bytes: letters.originalBytes,
      max_repaired_bytes: letters.maxOriginalBytes,
      held_senders: rest.heldSenders,
    },
    destinations: Object.fromEntries(
      upstreams.map(({ name, delivery, tokens }) => {
        const { state, reason, since } = delivery.state();
        const { waitingSpans, oldestReceivedAt } = destinations[name] ?? {};
        return [
          name,
          {
            state,
            reason,
            since: iso(since),
            waiting_spans: waitingSpans,
            dead_letter_spans: letters.spans[name] ?? 0,
            oldest_received_at: iso(oldestReceivedAt),
            token_expires_at: iso(tokens?.expiresAt()),
            slow_traces: shownTraces(delivery.slowTraces()),
          },
        ];
      }),
    ),
    unconfigured_destinations: Object.fromEntries(
      [...new Set([...Object.keys(unconfigured), ...Object.keys(letters.spans)])]
        .filter((name) => destinations[name] === undefined)
        .map((name) => [
          name,
          { waiting_spans: unconfigured[name] ?? 0, dead_letter_spans: letters.spans[name] ?? 0 },
        ]),
    ),
  };
}

/** What is there from the start, so that a first increase is seen as one. */
export function countFromStart(
  metrics: Metrics,
  queue: Queue & { readonly deadLetters: DeadLetters },
  log: Logger,
): void {
  const { maxBytes, destinations, unconfigured } = queue.status();
  metrics.queueMaxBytes.set(maxBytes);
  metrics.deadLetterMaxBytes.set(queue.deadLetters.status().maxBytes);
  for (const [destination, { recoveredSpans }] of Object.entries(destinations)) {
    metrics.discardedSpans.inc({ destination }, 0);
    metrics.droppedOriginalSpans.inc({ destination }, 0);
    metrics.recoveredSpans.inc({ destination }, recoveredSpans);
    if (recoveredSpans > 0) log.info({ destination, spans: recoveredSpans }, 'found spans waiting');
  }
  for (const [destination, spans] of Object.entries(unconfigured)) {
    metrics.recoveredSpans.inc({ destination }, spans);
    metrics.discardedSpans.inc({ destination }, 0);
  }
  // A run accounts for all that it found, so that its metrics alone tell whether anything is lost.
  for (const [destination, spans] of Object.entries(queue.deadLetters.status().spans)) {
    metrics.recoveredSpans.inc({ destination }, spans);
  }
}

/** To be called before each reading of the metrics. */
export function fillGauges(
  metrics: Metrics,
  queue: Queue & { readonly deadLetters: DeadLetters },
  upstreams: readonly ShownUpstream[],
): void {
  const { bytes, segments, canAppend, destinations, unconfigured, heldSenders } = queue.status();
  const letters = queue.deadLetters.status();
  metrics.queueBytes.set(bytes);
  metrics.queueSegments.set(segments);
  metrics.deadLetterBytes.set(letters.bytes);
  metrics.heldSenders.set(heldSenders.length);
  metrics.queueCanAppend.set(canAppend ? 1 : 0);
  metrics.deadLetterSpans.reset();
  for (const [destination, spans] of Object.entries(letters.spans)) {
    metrics.deadLetterSpans.set({ destination }, spans);
  }
  metrics.unconfiguredSpans.reset();
  for (const [destination, spans] of Object.entries(unconfigured)) {
    metrics.unconfiguredSpans.set({ destination }, spans);
  }
  for (const { name: destination, tokens, delivery } of upstreams) {
    const { requests, batchSpans } = delivery.limits();
    metrics.upstreamInFlightLimit.set({ destination }, requests);
    metrics.upstreamBatchSpansLimit.set({ destination }, batchSpans);
    const { waitingSpans = 0, oldestReceivedAt } = destinations[destination] ?? {};
    metrics.waitingSpans.set({ destination }, waitingSpans);
    metrics.deadLetterSpans.set({ destination }, letters.spans[destination] ?? 0);
    const age = oldestReceivedAt === undefined ? 0 : (Date.now() - oldestReceivedAt) / 1000;
    metrics.oldestWaitingSeconds.set({ destination }, Math.max(age, 0));
    metrics.tokenExpiry.set({ destination }, (tokens?.expiresAt() ?? 0) / 1000);
  }
}

/** Left out where there is none, as for most of the time. */
function shownTraces(traces: readonly SlowTrace[]) {
  if (traces.length === 0) return undefined;
  return traces.map(({ traceId, sender, waitingSpans, since, reason }) => ({
    trace_id: traceId,
    sender,
    waiting_spans: waitingSpans,
    since: iso(since),
    reason,
  }));
}

function iso(time: number | undefined): string | undefined {
  return time === undefined ? undefined : new Date(time).toISOString();
}
