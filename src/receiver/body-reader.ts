import type { Hold } from './body-room.ts';
import type { Body } from './body.ts';
import type { BodyJob, BodyJobResult } from './body-worker.ts';
import { readBodyNow } from './read-body.ts';
import type { BodyFormat, BodyLimits, ReadResult } from './read-body.ts';
import { hasTime, spend } from './turn.ts';
import { WorkerLane } from './worker-lane.ts';

// The ending is that of this file: .ts where the sources run as they are, .js where they were built.
const WORKER_FILE = new URL(
  `./body-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`,
  import.meta.url,
);

/**
 * Bodies up to these sizes are read on the event loop: a thread costs about as much as the work. The worst that can be
 * made of one holds the loop for a few ms, an ordinary one for one; and a turn has time for a few (see `hasTime`). What
 * is compressed is read there if it comes to no more than a little; what turns out larger, or has more messages in it, or
 * has to be mended and is not small, begins anew beside the loop.
 */
const ON_LOOP = { protobuf: 1024 * 1024, json: 256 * 1024 } as const;
const COMPRESSED_ON_LOOP = 16 * 1024;
const DECOMPRESSED_ON_LOOP = 256 * 1024;
const ON_LOOP_TIME = {
  /** Twice as many as spans with twenty attributes have in a MiB. Of empty ones there could be half a million. */
  mostMessages: 128 * 1024,
  /** Mending takes some times as long as reading. */
  mostMended: 64 * 1024,
} as const;

/** Bodies up to this size have a thread of their own, in which none waits for one of the largest. */
const MEDIUM_BODY = 8 * 1024 * 1024;

/**
 * For the heap of a thread, in MiB. Bodies are outside of the heap, and a thread keeps nothing but one of them: its
 * heap holds the code, the schema and one text of 64 KiB at a time, whatever is in the body.
 */
const THREAD_HEAP = 96;

export type BodyReading =
  | ReadResult
  /** `withdrawn`: others needed its room, or the client is gone. `crashed` says why it could not be read. */
  | { ok: false; withdrawn: true }
  | { ok: false; crashed: string };

/**
 * Reads bodies: small ones at once, on the event loop; others beside it, in one of two threads, by turns between the
 * senders. Each thread has one body at a time, and needs up to three times its bytes.
 */
export function createBodyReader(limits: BodyLimits) {
  const medium = new WorkerLane<BodyJob, BodyJobResult>(WORKER_FILE, THREAD_HEAP);
  const large = new WorkerLane<BodyJob, BodyJobResult>(WORKER_FILE, THREAD_HEAP);
  const mediumLimits = { ...limits, maxSize: Math.min(limits.maxSize, MEDIUM_BODY) };

  /** Undefined: it has to be read beside the loop. */
  function readOnLoop(body: Body, format: BodyFormat, sender: string): ReadResult | undefined {
    const isPlain = format.compression === 'identity';
    const mostBytes = isPlain ? ON_LOOP[format.encoding] : COMPRESSED_ON_LOOP;
    if (body.length > mostBytes || !hasTime(sender)) return undefined;
    const { blocks } = body;
    const whole = blocks.length === 1 ? blocks[0]! : Buffer.concat(blocks, body.length);
    const maxSize = Math.min(limits.maxSize, DECOMPRESSED_ON_LOOP);
    const started = performance.now();
    const result = readBodyNow(whole, format, { ...limits, maxSize, ...ON_LOOP_TIME });
    spend(sender, performance.now() - started);
    return 'tooLarge' in result ? undefined : result;
  }

  async function readInLane(
    lane: typeof medium,
    job: BodyJob,
    hold: Hold,
    whileWaiting: WhileWaiting,
  ): Promise<BodyJobResult | Exclude<BodyReading, ReadResult>> {
    const transfer = job.blocks.map(({ buffer }) => buffer);
    let hasBegun = false;
    const { result, withdraw } = lane.run(hold.sender, job, transfer, () => {
      hasBegun = true;
      hold.mayStay();
    });
    if (!hasBegun) hold.mayBeEvicted('waiting', withdraw);
    const stopWaiting = whileWaiting(withdraw);
    const end = await result;
    stopWaiting();
    if (end === undefined) return { ok: false, withdrawn: true };
    return end.done ? end.result : { ok: false, crashed: end.crashed };
  }

  /**
   * What is given is used up.
   * @param whileWaiting is given a function that withdraws the body; what it returns is called when that is over
   */
  return async function readBody(
    body: Body,
    format: BodyFormat,
    hold: Hold,
    whileWaiting: WhileWaiting,
  ): Promise<BodyReading> {
    const read = readOnLoop(body, format, hold.sender);
    if (read !== undefined) return read;
    let { blocks }: { blocks: BodyJob['blocks'] } = body;
    if (body.length <= mediumLimits.maxSize) {
      const job = { blocks, format, limits: mediumLimits };
      const reading = await readInLane(medium, job, hold, whileWaiting);
      if (!('tooLarge' in reading)) return reading;
      if (mediumLimits.maxSize === limits.maxSize) return { ok: false, tooLarge: true };
      blocks = [reading.body];
    }
    const reading = await readInLane(large, { blocks, format, limits }, hold, whileWaiting);
    return 'tooLarge' in reading ? { ok: false, tooLarge: true } : reading;
  };
}

type WhileWaiting = (withdraw: () => void) => () => void;
