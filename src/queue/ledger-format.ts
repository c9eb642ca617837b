import { crc32 } from 'node:zlib';
import type { RecordPlace } from './in-hand-format.ts';
import type { Position } from './log-cursor.ts';
import type { SegmentName } from './segment.ts';
import { SpanSet } from './span-set.ts';

/**
 * A destination's ledger, `NAME.ledger` beside its position: what has left behind the first frame that is not settled,
 * as far as neither the position nor the dead letters tell it. Pure: no disk.
 *
 *     head (32 bytes)
 *          0  magic "MTRLEDG" and a byte: the format's version
 *          8  u32 length of the body              12  u32 CRC-32 of the body
 *         16  zeros                               28  u32 CRC-32 of bytes 0 to 27
 *     body: numbers up to 2^53, each as unsigned LEB128, and each list behind its length
 *          the mark: of the segments of dead letters before this one, all that they tell is in here
 *          the segments that are named:           id, salt
 *          the base, before which all is settled: segment, offset; zeros where it is not known
 *          ranges in which all is settled:        segment, offset to segment, offset; spans
 *          records in part:                       segment, offset, index in the frame; spans; the runs that have left
 *
 * A segment counts as the one that is named where its salt is the same: of another log, whose ids were the same, nothing
 * is taken for settled.
 */
export const HEAD_SIZE = 32;
export const VERSION = 1;
const MAGIC = Buffer.from('MTRLEDG', 'latin1');

/**
 * A guard for readers. A record in part stands in the window, with more bytes of memory for each span than its run takes
 * here, and there are no more ranges than records that wait.
 */
export const MOST_BYTES = 64 * 1024 * 1024;

/** Spans that a record may have: above what a request of the largest size can hold. */
const MOST_SPANS = 2 ** 30;

/** All between two places is settled. */
export type SettledRange = { readonly from: Position; readonly to: Position; readonly spans: number };

/** A record of which some spans have left. */
export type LeftRecord = { readonly place: RecordPlace; readonly spans: SpanSet };

export type Left = {
  /** All before it is settled; undefined where that is not known. */
  readonly base: Position | undefined;
  /** Ascending. */
  readonly ranges: readonly SettledRange[];
  readonly records: readonly LeftRecord[];
};

export type LedgerContent = Left & {
  readonly mark: number;
  readonly segments: readonly SegmentName[];
};

export function encodeLedger({ mark, segments, base, ranges, records }: LedgerContent): Buffer {
  const numbers = [mark, segments.length];
  for (const { id, salt } of segments) numbers.push(id, salt);
  numbers.push(base?.segment ?? 0, base?.offset ?? 0, ranges.length);
  for (const { from, to, spans } of ranges)
    numbers.push(from.segment, from.offset, to.segment, to.offset, spans);
  numbers.push(records.length);
  for (const { place, spans } of records) {
    const runs = spans.runs();
    numbers.push(place.segment, place.offset, place.index, spans.of, runs.length);
    for (const run of runs) numbers.push(run);
  }
  const body = encodeNumbers(numbers);
  const head = Buffer.alloc(HEAD_SIZE);
  MAGIC.copy(head);
  head.writeUInt8(VERSION, MAGIC.length);
  head.writeUInt32LE(body.length, 8);
  head.writeUInt32LE(crc32(body), 12);
  head.writeUInt32LE(crc32(head.subarray(0, 28)), 28);
  return Buffer.concat([head, body]);
}

/** Undefined where the bytes are damaged, or of another version. */
export function decodeLedger(bytes: Buffer): LedgerContent | undefined {
  if (bytes.length < HEAD_SIZE || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  if (bytes.readUInt8(MAGIC.length) !== VERSION) return undefined;
  if (bytes.readUInt32LE(28) !== crc32(bytes.subarray(0, 28))) return undefined;
  const body = bytes.subarray(HEAD_SIZE, HEAD_SIZE + bytes.readUInt32LE(8));
  if (body.length !== bytes.readUInt32LE(8) || bytes.readUInt32LE(12) !== crc32(body)) return undefined;
  return readContent(numbersIn(body));
}

function readContent(numbers: Iterator<number, undefined>): LedgerContent | undefined {
  const next = () => numbers.next().value ?? 0;
  const position = (): Position => ({ segment: next(), offset: next() });
  const list = <T>(read: () => T): T[] => Array.from({ length: next() }, read);
  const mark = next();
  const segments = list(() => ({ id: next(), salt: next() }));
  const base = position();
  const ranges = list(() => ({ from: position(), to: position(), spans: next() }));
  let isSound = true;
  const records = list(() => {
    const place = { ...position(), index: next() };
    const of = next();
    const runs = list(next);
    isSound &&= of <= MOST_SPANS;
    return { place, spans: SpanSet.ofRuns(isSound ? of : 0, runs) };
  });
  return isSound
    ? { mark, segments, base: base.segment === 0 ? undefined : base, ranges, records }
    : undefined;
}

function encodeNumbers(numbers: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(numbers.length * 8);
  let at = 0;
  for (const number of numbers) {
    let rest = number;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[at++] = (rest % 0x80) | 0x80;
    bytes[at++] = rest;
  }
  return bytes.subarray(0, at);
}

function* numbersIn(bytes: Uint8Array): Generator<number, undefined> {
  let number = 0;
  let unit = 1;
  for (const byte of bytes) {
    number += (byte & 0x7f) * unit;
    unit *= 0x80;
    if (byte >= 0x80) continue;
    yield number;
    number = 0;
    unit = 1;
  }
  return undefined;
}
