import type { FastifyReply, FastifyRequest } from 'fastify';
import { encodeTracesJson } from '../otlp/json.ts';
import type { RouteTarget } from '../otlp/record.ts';
import { encodeExportResponse } from '../otlp/response.ts';
import { cutSpans, scanTraces } from '../otlp/wire.ts';
import type { AppendOutcome, Queue } from '../queue/queue.ts';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { createBodyBudget, readBody } from './body.ts';
import type { BodyResult, Hold } from './body.ts';
import { tooLarge } from './request-head.ts';
import type { AcceptedHead } from './request-head.ts';
import { unavailable } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import type { Responder } from './responder.ts';

/**
 * Bodies in hand may take this many times the largest body: a request needs up to twice that, compressed and
 * not, so two of the largest fit at once, and of usual ones thousands.
 */
const BODIES_IN_HAND = 4;

/** Seconds. A full queue drains at the pace of the upstream, a disk is mended by people: not at once. */
const RETRY_AFTER_TROUBLE = 5;
/** Seconds. Bodies are in hand for milliseconds. */
const RETRY_AFTER_BUSY = 1;

const QUEUE_WORDS = {
  full: 'the queue of the relay is full; send again later',
  over_share:
    'the queue of the relay is nearly full, and this sender has the fair share of it; send again later',
  sender_held:
    'too many spans of this sender are kept as dead letters (refused, or delivered only repaired); send again later, once an operator of the relay has replayed or discarded them',
  failed: 'the disk of the relay does not take writes; send again later',
} as const;

export type TracesRouteDeps = {
  queue: Pick<Queue, 'append'>;
  route: (sender: string) => RouteTarget;
  metrics: Metrics;
  log: Logger;
  responder: Responder;
};

export type TracesRequest = { sender: string; head: AcceptedHead };

/** What to answer; undefined: nobody is there to answer. */
type Outcome = { ok: true; answer: Buffer } | { ok: false; refusal: Refusal } | undefined;

/** POST /v1/traces, from the body on: read, turn into protobuf, scan, keep, and only then answer 200. */
export function createTracesRoute(maxBodySize: number, deps: TracesRouteDeps) {
  const { queue, route, metrics, log, responder } = deps;
  const budget = createBodyBudget(BODIES_IN_HAND * maxBodySize);

  async function take(
    request: FastifyRequest,
    { sender, head }: TracesRequest,
    hold: Hold,
  ): Promise<Outcome> {
    const read = await readBody(request.raw, head.compression, maxBodySize, hold);
    if (!read.ok) return read.why === 'aborted' ? undefined : refuse(refusalOfBody(read, maxBodySize));

    let payload: Uint8Array = read.body;
    if (head.encoding === 'json') {
      const encoded = await encodeTracesJson(payload);
      if (!encoded.ok) {
        const { message, crashed } = encoded;
        return refuse(
          crashed === true
            ? unavailable('internal', message, RETRY_AFTER_TROUBLE)
            : { status: 400, reason: 'undecodable', message },
        );
      }
      payload = encoded.payload;
    }

    const scan = scanTraces(payload);
    if (!scan.ok) return refuse({ status: 400, reason: 'undecodable', message: scan.message });
    const rejectedSpans = scan.invalidSpans.length;
    const spanCount = scan.spanCount - rejectedSpans;
    if (rejectedSpans > 0) {
      metrics.refusedSpans.inc({ reason: 'invalid_span' }, rejectedSpans);
      if (spanCount === 0) {
        const message = `none of the ${rejectedSpans} spans can be taken; the first: ${scan.problem}`;
        return refuse({ status: 400, reason: 'invalid_spans', message });
      }
      const invalid = new Set(scan.invalidSpans);
      payload = cutSpans(payload, (index) => !invalid.has(index));
    }

    if (spanCount > 0) {
      const outcome = await append({
        payload,
        spanCount,
        sender,
        route: route(sender),
        receivedAt: Date.now(),
      });
      if (outcome !== 'stored') {
        metrics.refusedSpans.inc({ reason: `queue_${outcome}` }, spanCount);
        return refuse(refusalOfQueue(outcome));
      }
      metrics.acceptedSpans.inc(spanCount);
    }
    if (rejectedSpans === 0) return { ok: true, answer: encodeExportResponse(head.encoding) };
    const message = `${rejectedSpans} of ${scan.spanCount} spans were left out; the first: ${scan.problem}`;
    return { ok: true, answer: encodeExportResponse(head.encoding, { rejectedSpans, message }) };
  }

  /** A queue that throws has taken nothing that it promised: the client must keep its spans and try again. */
  async function append(record: Parameters<Queue['append']>[0][number]): Promise<AppendOutcome> {
    try {
      return await queue.append([record]);
    } catch (error) {
      log.error({ err: error }, `the queue did not take a request: ${messageOf(error)}`);
      return 'failed';
    }
  }

  return async function tracesRoute(
    request: FastifyRequest,
    reply: FastifyReply,
    accepted: TracesRequest,
  ): Promise<FastifyReply> {
    const hold = budget.hold();
    try {
      // RFC 9110 section 10.1.1: clients of HTTP/1.0 do not know it.
      if (request.headers.expect !== undefined && request.raw.httpVersion !== '1.0')
        reply.raw.writeContinue();
      const outcome = await take(request, accepted, hold);
      if (outcome === undefined) return reply.hijack();
      if (outcome.ok) return responder.success(request, reply, outcome.answer);
      return responder.refuse(request, reply, accepted.sender, outcome.refusal);
    } finally {
      hold.release();
    }
  };
}

function refuse(refusal: Refusal): Outcome {
  return { ok: false, refusal };
}

function refusalOfBody(result: Exclude<BodyResult, { ok: true }>, maxBodySize: number): Refusal {
  switch (result.why) {
    case 'too_large':
      return tooLarge(maxBodySize);
    case 'damaged':
      return { status: 400, reason: 'undecodable', message: result.message };
    default:
      return unavailable('busy', 'too many large requests are in hand; send again', RETRY_AFTER_BUSY);
  }
}

function refusalOfQueue(outcome: Exclude<AppendOutcome, 'stored'>): Refusal {
  return unavailable(`queue_${outcome}`, QUEUE_WORDS[outcome], RETRY_AFTER_TROUBLE);
}
