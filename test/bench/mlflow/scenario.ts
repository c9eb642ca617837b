/*
 * Which spans end when, and in which requests the services' SDKs send them. Everything follows from the scenario, so
 * that every route gets the same.
 */

export type Scenario = {
  readonly name: string;
  readonly traces: number;
  readonly spansPerTrace: number;
  /** That end, of all traces together. */
  readonly spansPerSecond: number;
  /** From a trace's first span to its last, about. */
  readonly traceSeconds: number;
};

export const SCENARIOS = [
  { name: 'burst', traces: 400, spansPerTrace: 20, spansPerSecond: 4000, traceSeconds: 1 },
  { name: 'slow', traces: 600, spansPerTrace: 20, spansPerSecond: 2500, traceSeconds: 4 },
] as const satisfies readonly Scenario[];

/**
 * Which service each span of a trace is of; every trace begins elsewhere in it. They have unequal shares, so that
 * their batches do not fill at the same moments.
 */
const SERVICE_TURNS = [0, 1, 2, 0, 1, 3, 0, 1, 2, 0, 1, 3, 0, 1, 2, 0, 1, 3, 0, 2];
export const SERVICES = 4;

/** The defaults of the batch span processor in OpenTelemetry's SDKs: it exports what it has when either is reached. */
export const BATCH_PROCESSOR = { maxSpans: 512, delayMs: 5000 } as const;

export type PlannedSpan = {
  readonly trace: number;
  /** In its trace, by the order in which they end; the last is the root. */
  readonly index: number;
  readonly service: number;
  /** Since the first moment of the scenario. */
  readonly endMs: number;
};

export type PlannedExport = {
  readonly service: number;
  /** When the service begins to send it, unless it still sends the one before. */
  readonly atMs: number;
  readonly spans: readonly PlannedSpan[];
};

export function spanCount({ traces, spansPerTrace }: Scenario): number {
  return traces * spansPerTrace;
}

/** In the order in which they end: at an even rate, the spans of many traces among each other. */
export function planSpans(scenario: Scenario): PlannedSpan[] {
  const { traces, spansPerTrace, spansPerSecond, traceSeconds } = scenario;
  const seconds = spanCount(scenario) / spansPerSecond;
  const beginsWithin = Math.max(0, seconds - traceSeconds);
  const wished: { trace: number; index: number; at: number }[] = [];
  for (let trace = 0; trace < traces; trace++) {
    const begin = (trace / traces) * beginsWithin;
    for (let index = 0; index < spansPerTrace; index++) {
      wished.push({ trace, index, at: begin + ((index + 1) / spansPerTrace) * traceSeconds });
    }
  }
  return wished
    .toSorted((a, b) => a.at - b.at)
    .map(({ trace, index }, place) => ({
      trace,
      index,
      service: SERVICE_TURNS[(trace + index) % SERVICE_TURNS.length] ?? 0,
      endMs: ((place + 1) / spansPerSecond) * 1000,
    }));
}

/**
 * What each service's batch span processor exports, by time: full batches at once, what is there when the delay is
 * up, and the rest when the services are shut down after the last span.
 */
export function planExports(spans: readonly PlannedSpan[]): PlannedExport[] {
  const lastMs = spans.at(-1)?.endMs ?? 0;
  const exports: PlannedExport[] = [];
  for (let service = 0; service < SERVICES; service++) {
    let pending: PlannedSpan[] = [];
    let dueMs = BATCH_PROCESSOR.delayMs;
    const flush = (atMs: number) => {
      if (pending.length > 0) exports.push({ service, atMs, spans: pending });
      pending = [];
      dueMs = atMs + BATCH_PROCESSOR.delayMs;
    };
    for (const span of spans) {
      if (span.service !== service) continue;
      while (span.endMs > dueMs) flush(dueMs);
      pending.push(span);
      if (pending.length === BATCH_PROCESSOR.maxSpans) flush(span.endMs);
    }
    flush(lastMs);
  }
  return exports.toSorted((a, b) => a.atMs - b.atMs);
}

/** Whole traces by so many, each when the last span of the last of them has been exported. */
export function planIdeally(
  exports: readonly PlannedExport[],
  tracesEach: number,
): { readonly atMs: number; readonly spans: readonly PlannedSpan[] }[] {
  const traces = new Map<number, { atMs: number; spans: PlannedSpan[] }>();
  for (const { atMs, spans } of exports.toSorted((a, b) => a.atMs - b.atMs)) {
    for (const span of spans) {
      const trace = traces.get(span.trace) ?? { atMs, spans: [] };
      trace.atMs = atMs;
      trace.spans.push(span);
      traces.set(span.trace, trace);
    }
  }
  const complete = [...traces.values()].toSorted((a, b) => a.atMs - b.atMs);
  return Array.from({ length: Math.ceil(complete.length / tracesEach) }, (_, place) => {
    const together = complete.slice(place * tracesEach, (place + 1) * tracesEach);
    return { atMs: together.at(-1)?.atMs ?? 0, spans: together.flatMap(({ spans }) => spans) };
  });
}
