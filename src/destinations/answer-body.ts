import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { constants, createUnzip, unzip } from 'node:zlib';

const unzipAsync = promisify(unzip);

/**
 * An error is read up to here: its words stand at its beginning, and behind them MLflow may quote a statement of
 * megabytes. What is read is looked through for secrets, and a sender may choose what MLflow quotes, many times a second.
 */
export const LARGEST_ERROR = 16 * 1024;

/** Chunks that are read before others have their turn: some milliseconds, if each is of one byte. */
const CHUNKS_AT_ONCE = 256;

export type AnswerBody = {
  readonly bytes: Buffer;
  /** It is the beginning only. */
  readonly isCut: boolean;
};

/**
 * The whole body, decompressed; undefined if there are more than `limit` bytes, before or after that. The connection is
 * given up then.
 */
export async function readWhole(
  body: AsyncIterable<Buffer>,
  encoding: string | undefined,
  limit: number,
): Promise<AnswerBody | undefined> {
  const encoded = await readUpTo(body, limit);
  if (encoded.isCut) return undefined;
  if (!isCompressed(encoding)) return encoded;
  try {
    return { bytes: await unzipAsync(encoded.bytes, { maxOutputLength: limit }), isCut: false };
  } catch (error) {
    // What cannot be decompressed stays as it is, and is no answer of the upstream to its reader.
    return error instanceof RangeError ? undefined : encoded;
  }
}

/** The first `limit` bytes of a body, decompressed. The connection is given up if there is more. */
export async function readBeginning(
  body: AsyncIterable<Buffer>,
  encoding: string | undefined,
  limit: number,
): Promise<AnswerBody> {
  const encoded = await readUpTo(body, limit);
  if (!isCompressed(encoding)) return encoded;
  // The end of a cut one is missing, which is no fault.
  const plain = createUnzip({ finishFlush: constants.Z_SYNC_FLUSH });
  plain.end(encoded.bytes);
  try {
    const { bytes, isCut } = await readUpTo(plain, limit);
    return { bytes, isCut: isCut || encoded.isCut };
  } catch {
    return encoded;
  } finally {
    plain.destroy();
  }
}

async function readUpTo(body: AsyncIterable<Buffer>, limit: number): Promise<AnswerBody> {
  // Chunks may be of one byte: a list of them would take a hundred times the body's memory.
  let bytes = Buffer.alloc(0);
  let size = 0;
  let count = 0;
  for await (const chunk of body) {
    const end = size + chunk.byteLength;
    if (end > bytes.length && size < limit) bytes = grown(bytes, Math.min(end, limit), limit);
    chunk.copy(bytes, size);
    size = end;
    if (size > limit) break;
    // Chunks that are there already come without a turn of the event loop.
    if (++count % CHUNKS_AT_ONCE === 0) await setImmediate();
  }
  return { bytes: bytes.subarray(0, Math.min(size, limit)), isCut: size > limit };
}

/** With room for at least so many bytes; doubled, so that each byte is copied twice at most. */
function grown(bytes: Uint8Array, atLeast: number, limit: number) {
  const larger = Buffer.allocUnsafe(Math.max(atLeast, Math.min(2 * bytes.length, limit)));
  larger.set(bytes);
  return larger;
}

/** No compression was asked for, but some proxies compress all the same. */
function isCompressed(encoding: string | undefined): boolean {
  return encoding !== undefined && /^(x-)?gzip$|^deflate$/i.test(encoding.trim());
}
