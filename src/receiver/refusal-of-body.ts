import type { Encoding } from '../otlp/response.ts';
import type { BodyReading } from './body-reader.ts';
import type { CollectResult } from './body.ts';
import type { TakenBody } from './read-body.ts';
import { TOO_SLOW_REMEDY, unavailable } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import { tooLarge } from './request-head.ts';

/** Seconds. Bodies are in hand for milliseconds. */
const RETRY_AFTER_BUSY = 1;
/** Seconds. */
const RETRY_AFTER_CRASH = 5;

type SlowBody = Extract<CollectResult, { why: 'slow' }>;
type NotCollected = SlowBody | { why: 'too_large' | 'busy' | 'evicted' };

export function refusalOfCollected(result: NotCollected, maxBodySize: number): Refusal {
  switch (result.why) {
    case 'too_large':
      return tooLarge(maxBodySize);
    case 'slow':
      return { status: 408, reason: 'slow', message: wordsOfSlow(result) };
    case 'evicted':
      return unavailable(
        'busy',
        'this sender has more than its share of the large requests in hand, and others needed the room; send again',
        RETRY_AFTER_BUSY,
      );
    default:
      return unavailable('busy', 'too many large requests are in hand; send again', RETRY_AFTER_BUSY);
  }
}

function wordsOfSlow({ bytes, leastPace }: SlowBody): string {
  return `the body came too slowly: ${bytes} bytes in ${leastPace.everyMs / 1000} s, at least ${leastPace.bytes} are needed, and the whole request within a minute; ${TOO_SLOW_REMEDY}`;
}

export function refusalOfRead(reading: Extract<BodyReading, { ok: false }>, maxBodySize: number): Refusal {
  if ('tooLarge' in reading) return tooLarge(maxBodySize);
  if ('withdrawn' in reading) return refusalOfCollected({ why: 'evicted' }, maxBodySize);
  if ('crashed' in reading) {
    const message = `the thread that reads large requests ended: ${reading.crashed}`;
    return unavailable('internal', message, RETRY_AFTER_CRASH);
  }
  return { status: 400, reason: 'undecodable', message: reading.message };
}

/** Spans of one request that were left out for one reason, and the first of them in words. */
export type LeftOut = {
  readonly reason: 'invalid_span' | 'unreadable_span' | 'large_resource';
  readonly count: number;
  readonly detail: string;
};

/** Empty where no span was left out. */
export function leftOutOf(read: TakenBody, maxResourceSize: number): LeftOut[] {
  const {
    spanCount,
    invalidSpanCount,
    problem,
    unreadableSpanCount,
    unreadable,
    oversizeSpanCount,
    oversize,
  } = read;
  const leftOut: LeftOut[] = [];
  if (invalidSpanCount > 0) {
    const detail = `with ids that cannot be; the first is ${problem}`;
    leftOut.push({ reason: 'invalid_span', count: invalidSpanCount, detail });
  }
  // Something may be wrong though no span is lost by it.
  if (unreadableSpanCount > 0 || (unreadable !== undefined && spanCount > 0)) {
    const detail = `that cannot be read; the first fault is ${unreadable}`;
    leftOut.push({ reason: 'unreadable_span', count: unreadableSpanCount, detail });
  }
  if (oversizeSpanCount > 0 && oversize !== undefined) {
    const detail = `under resources or scopes of more than ${maxResourceSize} bytes beside their spans (receiver.max_resource_size); the first is ${oversize.place} with ${oversize.bytes} bytes: move large attributes to the spans, or raise the limit`;
    leftOut.push({ reason: 'large_resource', count: oversizeSpanCount, detail });
  }
  return leftOut;
}

const WHERE_SPANS_ARE: Readonly<Record<Encoding, string>> = {
  protobuf: 'resource_spans, scope_spans, spans (fields 1, 2 and 2)',
  json: 'resourceSpans[].scopeSpans[].spans[]',
};

/** What the client of a body is told in which no span was found though it is not empty; nothing was lost that could be read. */
export function wordsOfNoSpans({ unreadable }: TakenBody, encoding: Encoding): string {
  const fault = unreadable === undefined ? '' : `; the first fault is ${unreadable}`;
  return `no span was found in the body, which is not empty: an ExportTraceServiceRequest has its spans at ${WHERE_SPANS_ARE[encoding]}${fault}`;
}

/** In words for the client; empty where nothing was left out. */
export function wordsOfLeftOut(leftOut: readonly LeftOut[], takenCount: number): string {
  const [first, ...others] = leftOut;
  if (first === undefined) return '';
  const count = leftOut.reduce((sum, one) => sum + one.count, 0);
  const head = headOfLeftOut(count, takenCount);
  if (others.length === 0) return `${head}, ${first.detail}`;
  return `${head}: ${leftOut.map((one) => `${one.count} ${one.detail}`).join('; ')}`;
}

function headOfLeftOut(count: number, takenCount: number): string {
  if (takenCount > 0)
    return `${count} of ${count + takenCount} spans ${count === 1 ? 'was' : 'were'} left out`;
  return count === 1 ? 'the only span cannot be taken' : `none of the ${count} spans can be taken`;
}
