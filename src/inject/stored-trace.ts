/** A value of an attribute as MLflow gives it back; integers that a double cannot hold are bigints. */
export type StoredValue =
  string | number | bigint | boolean | null | StoredValue[] | { [key: string]: StoredValue };

/** Attributes by their key. */
export type StoredAttributes = Record<string, StoredValue>;

/** A span; ids in lower-case hex, times in nanoseconds since the epoch. A root has the parent ''. */
export type SpanOf<Value> = {
  traceId: string;
  spanId: string;
  parentSpanId: string;
  name: string;
  /** As in SPAN_KIND_SERVER; MLflow before 3.18 does not give it back. */
  kind?: string | undefined;
  start: bigint;
  end: bigint;
  attributes: Record<string, Value>;
  events: { name: string; time: bigint; attributes: Record<string, Value> }[];
  links: { traceId: string; spanId: string; attributes: Record<string, Value> }[];
  /** As in STATUS_CODE_ERROR. */
  status: { code: string; message: string };
};

/** One that was read back. */
export type StoredSpan = SpanOf<StoredValue>;

/** A trace as MLflow gives it back; `traceId` in lower-case hex, 32 digits. */
export type StoredTrace = {
  traceId: string;
  experimentId: string;
  /** IN_PROGRESS until the root is there; then OK or ERROR. */
  state: string;
  /** Tags of the trace, and with them the resource attributes. */
  tags: Record<string, string>;
  /** What MLflow has found out about it, as in mlflow.trace.session and mlflow.trace.tokenUsage. */
  metadata: Record<string, string>;
  spans: StoredSpan[];
};

// oxlint-disable-next-line typescript/no-explicit-any -- answers of a foreign program, looked at field by field
type Json = any;

/**
 * The answer of `GET /api/3.0/mlflow/traces/get` (MLflow 3.10 to 3.18, `Span.to_otel_proto` in entities/span.py).
 * @param traceId in hex
 * @param answer as `parseExactly` reads it
 * @throws if it is no such answer
 */
export function readStoredTrace(traceId: string, answer: unknown): StoredTrace {
  const { trace_info: info, spans = [] } = (answer as Json).trace;
  return {
    traceId,
    experimentId: info.trace_location.mlflow_experiment.experiment_id,
    state: info.state,
    tags: info.tags ?? {},
    metadata: info.trace_metadata ?? {},
    spans: spans.map((span: Json) => ({
      traceId: toHex(span.trace_id),
      spanId: toHex(span.span_id),
      parentSpanId: toHex(span.parent_span_id),
      name: span.name ?? '',
      kind: span.kind,
      start: BigInt(span.start_time_unix_nano ?? 0),
      end: BigInt(span.end_time_unix_nano ?? 0),
      attributes: toAttributes(span.attributes),
      events: (span.events ?? []).map((event: Json) => ({
        name: event.name ?? '',
        time: BigInt(event.time_unix_nano ?? 0),
        attributes: toAttributes(event.attributes),
      })),
      links: (span.links ?? []).map((link: Json) => ({
        traceId: toHex(link.trace_id),
        spanId: toHex(link.span_id),
        attributes: toAttributes(link.attributes),
      })),
      status: { code: span.status?.code ?? 'STATUS_CODE_UNSET', message: span.status?.message ?? '' },
    })),
  };
}

function toHex(base64: string | undefined): string {
  return Buffer.from(base64 ?? '', 'base64').toString('hex');
}

function toAttributes(pairs: Json): StoredAttributes {
  return Object.fromEntries((pairs ?? []).map(({ key, value }: Json) => [key, toValue(value ?? {})]));
}

function toValue(value: Json): StoredValue {
  if ('array_value' in value) return (value.array_value.values ?? []).map(toValue);
  if ('kvlist_value' in value) return toAttributes(value.kvlist_value.values);
  const [plain] = Object.values(value);
  return (plain ?? null) as StoredValue;
}
