/** A trace id as 32 lower-case hex digits. */
export type TraceId = string;

/**
 * Where the spans of a request go, decided on arrival and frozen in the record. The experiment is resolved
 * at delivery, so that a corrected configuration frees a backlog.
 */
export type RouteTarget = {
  /** Name of the route in the configuration; `default` where there are no routes. */
  readonly name: string;
  /** Names of the destinations that get a copy each. */
  readonly destinations: readonly string[];
  /** Values that the route took from the request, for use in the target. */
  readonly variables: Readonly<Record<string, string>>;
};

/**
 * One accepted, validated ExportTraceServiceRequest of one route.
 * The payload is protobuf bytes and is decoded by nobody here.
 */
export type TraceRecord = {
  readonly payload: Uint8Array;
  /** Spans in the payload. */
  readonly spanCount: number;
  /** Identity of the client, as the receiver saw it. */
  readonly sender: string;
  readonly route: RouteTarget;
  /** Milliseconds since the Unix epoch. */
  readonly receivedAt: number;
};
