import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';

const PREFIX = 'mlflow_trace_relay_';

export type Metrics = ReturnType<typeof createMetrics>;

/**
 * The one catalogue of metrics. For each destination, at any moment and across restarts:
 * accepted + recovered = delivered + rejected + superseded + discarded + waiting + dead letters.
 */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: PREFIX });

  const counter = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: PREFIX + name, help, labelNames: [...labelNames], registers: [registry] });
  const gauge = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name: PREFIX + name, help, labelNames: [...labelNames], registers: [registry] });
  const histogram = <L extends string = never>(
    name: string,
    help: string,
    buckets: readonly number[],
    labelNames: readonly L[] = [],
  ) =>
    new Histogram<L>({
      name: PREFIX + name,
      help,
      buckets: [...buckets],
      labelNames: [...labelNames],
      registers: [registry],
    });

  const answerTimes = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

  return {
    registry,

    acceptedSpans: counter('accepted_spans_total', 'Spans answered 200, after they were on stable storage.'),
    refusedSpans: counter(
      'refused_spans_total',
      'Spans that the receiver did not take, where they could be counted, by reason.',
      ['reason'],
    ),
    mendedSpans: counter(
      'mended_spans_total',
      'Spans answered 200 in which the receiver replaced broken text, or in whose resource or scope it did.',
    ),
    requestsWithoutSpans: counter(
      'requests_without_spans_total',
      'Requests answered 200 whose body was not empty and had no span.',
    ),
    requests: counter('requests_total', 'Requests to the receiver, by HTTP status code.', ['code']),
    answerSeconds: histogram(
      'request_duration_seconds',
      'Time from the first byte of a request to the receiver to its answer.',
      answerTimes,
    ),

    deliveredSpans: counter(
      'delivered_spans_total',
      'Spans that the upstream took, but for repaired ones whose original is a dead letter.',
      ['destination'],
    ),
    rejectedSpans: counter(
      'rejected_spans_total',
      'Spans that the upstream left out of a success, by its own partial success.',
      ['destination'],
    ),
    repairedSpans: counter(
      'repaired_spans_total',
      'Spans that were delivered with something cut, replaced or left out. Each counts as a dead letter, where its original is kept, or else as delivered.',
      ['destination'],
    ),
    discardedSpans: counter(
      'discarded_spans_total',
      'Dead letters and waiting spans that a command of an operator gave up, and dropped originals of repaired spans.',
      ['destination'],
    ),
    droppedOriginalSpans: counter(
      'dropped_original_spans_total',
      'Originals of repaired spans that were dropped as the oldest of too many. They count as discarded, too.',
      ['destination'],
    ),
    supersededSpans: counter(
      'superseded_spans_total',
      'Spans that were not sent, because another copy of them (same sender, trace id and span id) was, while they waited.',
      ['destination'],
    ),
    recoveredSpans: counter(
      'recovered_spans_total',
      'Spans found when the relay started, waiting or among the dead letters.',
      ['destination'],
    ),
    waitingSpans: gauge('waiting_spans', 'Spans on disk that are not settled yet.', ['destination']),
    unconfiguredSpans: gauge(
      'unconfigured_destination_spans',
      'Spans on disk that are kept for a destination which is not in the configuration any more.',
      ['destination'],
    ),
    deadLetterSpans: gauge(
      'dead_letter_spans',
      'Spans kept on disk as dead letters: refused, given up after failures, or set aside unsent, and the originals of repaired spans.',
      ['destination'],
    ),
    deadLetterBytes: gauge('dead_letter_bytes', 'Bytes of the dead letters on disk.'),
    deadLetterMaxBytes: gauge(
      'dead_letter_max_bytes',
      'Bytes that the dead letters may always take on disk; beyond that, what the queue leaves.',
    ),
    heldSenders: gauge(
      'held_senders',
      'Senders that get 503 because their spans are refused: too many dead letters, or too many spans that are looked through.',
    ),
    oldestWaitingSeconds: gauge('oldest_waiting_seconds', 'Age of the oldest record that is not settled.', [
      'destination',
    ]),

    upstreamSeconds: histogram(
      'upstream_request_duration_seconds',
      'Time of a request to an upstream until its answer was read, by what became of it.',
      answerTimes,
      ['destination', 'outcome'],
    ),
    upstreamState: gauge(
      'upstream_state',
      '1 for the state that the upstream is in (unknown until the first request, up, retrying, blocked), 0 for the others.',
      ['destination', 'state'],
    ),
    upstreamInFlightLimit: gauge(
      'upstream_in_flight_limit',
      'Most requests to the upstream at once, as far as was found out what it can take.',
      ['destination'],
    ),
    upstreamBatchSpansLimit: gauge(
      'upstream_batch_spans_limit',
      'Most spans in a request to the upstream, as far as was found out what it can take.',
      ['destination'],
    ),
    tokenExpiry: gauge(
      'token_expiry_timestamp_seconds',
      'When the current access token ends, in seconds since the epoch; 0 without one.',
      ['destination'],
    ),
    tokenRequests: counter('token_requests_total', 'Requests to the token endpoint, by result.', [
      'destination',
      'result',
    ]),

    queueCanAppend: gauge(
      'queue_can_append',
      '1 while the disk of the queue takes writes; 0 while clients get 503.',
    ),
    queueBytes: gauge('queue_bytes', 'Bytes of the queue on disk.'),
    queueMaxBytes: gauge('queue_max_bytes', 'Bytes that the queue may take on disk.'),
    queueSegments: gauge('queue_segments', 'Segment files of the queue.'),
    queueSyncSeconds: histogram(
      'queue_sync_duration_seconds',
      'Time of a write and fdatasync of the queue.',
      [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
    ),
    queueDamagedBytes: counter(
      'queue_damaged_bytes_total',
      'Bytes of the log that failed their checksum and were set aside in a file.',
    ),
  };
}
