import { pino } from 'pino';
import protobuf from 'protobufjs';
import type { Destination, ResolvedTarget, SendOutcome } from '../../src/destinations/destination.ts';
import type { RouteTarget, TraceRecord } from '../../src/otlp/record.ts';
import type { DeadLetter, DeadLetters, Lease, QueueReader } from '../../src/queue/queue.ts';

/** The schema in proto/, with a field each that the relay does not know. */
const root = new protobuf.Root();
root.resolvePath = (_importer, file) => new URL(`../../proto/${file}`, import.meta.url).pathname;
root.loadSync('opentelemetry/proto/collector/trace/v1/trace_service.proto');
for (const type of ['Span', 'ScopeSpans', 'ResourceSpans']) {
  root.lookupType(`opentelemetry.proto.trace.v1.${type}`).add(new protobuf.Field('future', 15_000, 'string'));
}
const Request = root.lookupType('opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest');

export type SpanSpec = {
  readonly id: number;
  readonly trace: number;
  readonly isRoot?: boolean;
  readonly name?: string;
  readonly hasEnd?: boolean;
};
export type ScopeSpec = { readonly name: string; readonly spans: readonly SpanSpec[] };
export type ResourceSpec = { readonly name: string; readonly scopes: readonly ScopeSpec[] };
/** A span as it came out, with what it belongs to. */
export type SentSpan = { readonly id: number; readonly trace: number; readonly facts: string };

export function traceIdOf(trace: number): string {
  return trace.toString(16).padStart(32, '0');
}

export function encode(resources: readonly ResourceSpec[]): Uint8Array {
  const resourceSpans = resources.map((resource) => ({
    resource: { attributes: [{ key: 'service.name', value: { stringValue: resource.name } }] },
    future: `resource ${resource.name}`,
    scopeSpans: resource.scopes.map((scope) => ({
      scope: { name: scope.name, version: '1' },
      future: `scope ${scope.name}`,
      schemaUrl: 'https://opentelemetry.io/schemas/1.0.0',
      spans: scope.spans.map((span) => ({
        traceId: Buffer.from(traceIdOf(span.trace), 'hex'),
        spanId: Buffer.from(span.id.toString(16).padStart(16, '0'), 'hex'),
        parentSpanId: span.isRoot ? Buffer.alloc(0) : Buffer.from('00000000000000ff', 'hex'),
        name: span.name ?? `span ${span.id}`,
        ...(span.hasEnd === true && { endTimeUnixNano: 2 }),
        attributes: [{ key: 'n', value: { intValue: span.id } }],
        future: `span ${span.id}`,
      })),
    })),
  }));
  return Request.encode(Request.fromObject({ resourceSpans })).finish();
}

/** The spans of a request in wire order, each with its resource, scope and unknown fields. */
export function decode(bytes: Uint8Array): SentSpan[] {
  const request = Request.toObject(Request.decode(bytes), { bytes: String, longs: Number }) as DecodedRequest;
  return (request.resourceSpans ?? []).flatMap(({ scopeSpans, ...resource }) =>
    (scopeSpans ?? []).flatMap(({ spans, ...scope }) =>
      (spans ?? []).map((span) => ({
        id: Number(`0x${Buffer.from(span.spanId, 'base64').toString('hex')}`),
        trace: Number(`0x${Buffer.from(span.traceId, 'base64').toString('hex')}`),
        facts: JSON.stringify({ resource, scope, span }),
      })),
    ),
  );
}

type DecodedRequest = {
  resourceSpans?: { scopeSpans?: { spans?: { spanId: string; traceId: string }[] }[] }[];
};

let lastId = 0;

/** A record of one resource and scope. A span is `root of trace 1`: `{trace: 1, isRoot: true}`. */
export function recordOf(
  spans: readonly Omit<SpanSpec, 'id'>[],
  about: { readonly sender?: string; readonly route?: string; readonly receivedAt?: number } = {},
): TraceRecord {
  const sender = about.sender ?? 'agent';
  return {
    payload: encode([
      { name: sender, scopes: [{ name: 'lib', spans: spans.map((span) => ({ ...span, id: ++lastId })) }] },
    ]),
    spanCount: spans.length,
    sender,
    route: routeOf(about.route ?? 'default'),
    receivedAt: about.receivedAt ?? Date.now(),
  };
}

export function routeOf(name: string): RouteTarget {
  return { name, destinations: ['mlflow'], variables: {} };
}

/** A queue in memory. */
export class MemoryQueue implements QueueReader {
  readonly settled: TraceRecord[] = [];
  isHeldBack = false;
  isPatient = false;
  heldSenders: ReadonlySet<string> = new Set();
  get isStuck(): boolean {
    return this.isHeldBack;
  }
  /** Spans that were told to be done. */
  doneSpans = 0;
  readonly #records: TraceRecord[] = [];
  #more = Promise.withResolvers<void>();

  hasOthers(sender: string): boolean {
    return this.#records.some((record) => record.sender !== sender);
  }

  get unread(): number {
    return this.#records.length;
  }

  append(...records: TraceRecord[]): void {
    this.#records.push(...records);
    this.#more.resolve();
    this.#more = Promise.withResolvers();
  }

  async next(): Promise<Lease | undefined> {
    const record = this.#records.shift();
    if (record === undefined) return undefined;
    const done = ({ length }: readonly number[]) => {
      this.doneSpans += length;
    };
    const lease: Lease = {
      record,
      left: undefined,
      leave: () => ({ origins: [], onKept: () => {} }),
      done,
      settle: () => this.settled.push(record),
      isSuspect: false,
      inHand: () => {},
      outOfHand: () => {},
      again: async () => lease,
    };
    return lease;
  }

  async waitForMore(signal?: AbortSignal): Promise<void> {
    if ((this.#records.length > 0 && !this.isHeldBack) || signal?.aborted) return;
    const { promise: aborted, resolve } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    signal?.addEventListener('abort', onAbort, { once: true });
    await Promise.race([this.#more.promise, aborted]);
    signal?.removeEventListener('abort', onAbort);
  }
}

export class MemoryDeadLetters implements DeadLetters {
  readonly letters: DeadLetter[] = [];
  /** Awaited by each append; a rejection is a disk that fails. */
  disk: () => Promise<void> = async () => undefined;

  async append(letters: readonly DeadLetter[]): Promise<void> {
    await this.disk();
    this.letters.push(...letters);
  }

  status() {
    return { spans: {}, bytes: 0, maxBytes: 0, originalBytes: 0, maxOriginalBytes: 0 };
  }

  async close(): Promise<void> {}
}

export type Call = {
  readonly target: ResolvedTarget;
  readonly bytes: Buffer;
  readonly spans: readonly SentSpan[];
  readonly traces: readonly number[];
  readonly signal: AbortSignal;
  answer(outcome: SendOutcome): void;
};

/** An upstream of which the test gives every answer. */
export class ScriptedDestination implements Destination {
  readonly name = 'mlflow';
  readonly calls: Call[] = [];
  readonly inFlight = new Set<Call>();
  #seen = 0;
  #arrived = Promise.withResolvers<void>();

  targetOf(route: RouteTarget): ResolvedTarget {
    return { key: route.name, description: `experiment ${route.name}` };
  }

  send(target: ResolvedTarget, parts: readonly Uint8Array[], signal: AbortSignal): Promise<SendOutcome> {
    const { promise, resolve } = Promise.withResolvers<SendOutcome>();
    const bytes = Buffer.concat(parts);
    const spans = decode(bytes);
    const answer = (outcome: SendOutcome) => {
      this.inFlight.delete(call);
      resolve(outcome);
    };
    const call: Call = {
      target,
      bytes,
      spans,
      traces: [...new Set(spans.map(({ trace }) => trace))],
      signal,
      answer,
    };
    signal.addEventListener('abort', () => answer({ kind: 'retry', reason: 'aborted' }), { once: true });
    this.calls.push(call);
    this.inFlight.add(call);
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers();
    return promise;
  }

  /** The next request that was not handed out yet. */
  async nextCall(): Promise<Call> {
    while (this.calls.length === this.#seen) await this.#arrived.promise;
    return this.calls[this.#seen++] as Call;
  }

  async close(): Promise<void> {}
}

/** A logger whose lines can be looked at. */
export function memoryLog() {
  const lines: { level: string; msg: string; [key: string]: unknown }[] = [];
  const formatters = { level: (level: string) => ({ level }) };
  const log = pino({ level: 'debug', formatters }, { write: (line: string) => lines.push(JSON.parse(line)) });
  return { log, lines };
}
