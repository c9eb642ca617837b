import type { SiftResult } from '../otlp/sift.ts';
import type { BodyReading } from './body-reader.ts';
import type { CollectResult } from './body.ts';
import { TOO_SLOW, unavailable } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import { tooLarge } from './request-head.ts';

/** Seconds. Bodies are in hand for milliseconds. */
const RETRY_AFTER_BUSY = 1;
/** Seconds. */
const RETRY_AFTER_CRASH = 5;

type WhyNotCollected = Exclude<Extract<CollectResult, { ok: false }>['why'], 'aborted'>;

export function refusalOfCollected(why: WhyNotCollected, maxBodySize: number): Refusal {
  switch (why) {
    case 'too_large':
      return tooLarge(maxBodySize);
    case 'slow':
      return { status: 408, reason: 'slow', message: TOO_SLOW };
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

export function refusalOfRead(reading: Extract<BodyReading, { ok: false }>, maxBodySize: number): Refusal {
  if ('tooLarge' in reading) return tooLarge(maxBodySize);
  if ('withdrawn' in reading) return refusalOfCollected('evicted', maxBodySize);
  if ('crashed' in reading) {
    const message = `the thread that reads large requests ended: ${reading.crashed}`;
    return unavailable('internal', message, RETRY_AFTER_CRASH);
  }
  return { status: 400, reason: 'undecodable', message: reading.message };
}

/** What was left out, and why; empty where nothing was. */
export function wordsOfLeftOut(read: Extract<SiftResult, { ok: true }>, maxResourceSize: number): string {
  const { spanCount, invalidSpanCount, problem, oversizeSpanCount, oversize } = read;
  const leftOut = invalidSpanCount + oversizeSpanCount;
  if (leftOut === 0) return '';
  const all = spanCount + leftOut;
  const words = [
    spanCount === 0 ? `none of the ${all} spans can be taken` : `${leftOut} of ${all} spans were left out`,
  ];
  if (oversize !== undefined && oversizeSpanCount > 0) {
    const { place, bytes } = oversize;
    words.push(
      `${oversizeSpanCount} of them because ${place} has ${bytes} bytes beside its spans, which would go along with each trace: at most ${maxResourceSize} are taken (receiver.max_resource_size); move large attributes from the resource or scope to spans`,
    );
  }
  if (problem !== undefined) {
    words.push(
      `${words.length > 1 ? `${invalidSpanCount} because of their ids, ` : ''}the first: ${problem}`,
    );
  }
  return words.join('; ');
}
