import type { FastifyReply, FastifyRequest } from 'fastify';
import type { RouteTarget } from '../otlp/record.ts';
import { encodeExportResponse } from '../otlp/response.ts';
import type { AppendOutcome, Queue } from '../queue/queue.ts';
import { messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { createBodyReader } from './body-reader.ts';
import { BodyRoom } from './body-room.ts';
import type { Hold } from './body-room.ts';
import { collectBody, FIRST_BLOCK } from './body.ts';
import type { BodyLimits } from './read-body.ts';
import type { AcceptedHead } from './request-head.ts';
import {
  leftOutOf,
  refusalOfCollected,
  refusalOfRead,
  wordsOfLeftOut,
  wordsOfNoSpans,
} from './refusal-of-body.ts';
import { unavailable } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import type { Responder } from './responder.ts';

/**
 * Bodies in hand may take this many times the largest body. One needs its bytes as they come, and then its bytes as
 * protobuf, of which at most twice the largest body is in hand at once; so several of the largest fit, and of usual
 * ones thousands. Beside it, the threads that read bodies have one each in hand.
 */
const BODIES_IN_HAND = 4;

/** Seconds. A full queue drains at the pace of the upstream, a disk is mended by people: not at once. */
const RETRY_AFTER_TROUBLE = 5;

const QUEUE_WORDS = {
  full: 'the queue of the relay is full; send again later',
  over_share:
    'the queue of the relay is nearly full, and this sender has the fair share of it; send again later',
  sender_held:
    'too many spans of this sender are kept as dead letters (refused, or delivered only repaired); send again later, once an operator of the relay has replayed or discarded them',
  sender_searched:
    'spans of this sender are refused upstream, and more of it waits to be looked through than the relay keeps; send again later, and mend what is refused: an operator of the relay sees it in its log and dead letters',
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

/** POST /v1/traces, from the body on: read, turn into protobuf, sift, keep, and only then answer 200. */
export function createTracesRoute(limits: BodyLimits, deps: TracesRouteDeps) {
  const { queue, route, metrics, log, responder } = deps;
  const room = new BodyRoom(BODIES_IN_HAND * Math.max(limits.maxSize, FIRST_BLOCK));
  const readBody = createBodyReader(limits);

  async function take(
    request: FastifyRequest,
    reply: FastifyReply,
    { sender, head }: TracesRequest,
    hold: Hold,
  ): Promise<Outcome> {
    const body = await collectBody(request.raw, limits.maxSize, hold);
    if (!body.ok) {
      return body.why === 'aborted' ? undefined : refuse(refusalOfCollected(body, limits.maxSize));
    }
    const read = await readBody(body, head, hold, (withdraw) => {
      reply.raw.once('close', withdraw);
      return () => reply.raw.off('close', withdraw);
    });
    if (!read.ok) return reply.raw.destroyed ? undefined : refuse(refusalOfRead(read, limits.maxSize));

    const { payload, spanCount } = read;
    const leftOut = leftOutOf(read, limits.maxOwnBytes);
    for (const { reason, count } of leftOut) metrics.refusedSpans.inc({ reason }, count);
    const message = wordsOfLeftOut(leftOut, spanCount);
    if (spanCount === 0 && leftOut.length > 0) {
      return refuse(
        read.oversizeSpanCount > 0
          ? { status: 413, reason: 'large_resource', message }
          : { status: 400, reason: 'invalid_spans', message },
      );
    }

    if (!hold.resize(payload.byteLength)) return refuse(refusalOfCollected({ why: 'busy' }, limits.maxSize));
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
      if (read.mendedSpanCount > 0) {
        metrics.mendedSpans.inc(read.mendedSpanCount);
        responder.spansMended(request, sender, read);
      }
    }
    const answer = (partial?: Parameters<typeof encodeExportResponse>[1]): Outcome => ({
      ok: true,
      answer: encodeExportResponse(head.encoding, partial),
    });
    if (leftOut.length > 0) {
      responder.spansLeftOut(request, sender, leftOut, spanCount);
      const rejectedSpans = leftOut.reduce((sum, { count }) => sum + count, 0);
      return answer({ rejectedSpans, message });
    }
    if (spanCount > 0 || read.isEmpty) return answer();
    const detail = wordsOfNoSpans(read, head.encoding);
    metrics.requestsWithoutSpans.inc();
    responder.noSpans(request, sender, detail);
    return answer({ rejectedSpans: 0, message: detail });
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
    const hold = room.hold(accepted.sender);
    try {
      // RFC 9110 section 10.1.1: clients of HTTP/1.0 do not know it.
      if (request.headers.expect !== undefined && request.raw.httpVersion !== '1.0')
        reply.raw.writeContinue();
      const outcome = await take(request, reply, accepted, hold);
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

function refusalOfQueue(outcome: Exclude<AppendOutcome, 'stored'>): Refusal {
  return unavailable(`queue_${outcome}`, QUEUE_WORDS[outcome], RETRY_AFTER_TROUBLE);
}
