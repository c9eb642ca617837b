import { promisify } from 'node:util';
import { constants, createUnzip, unzip } from 'node:zlib';
import { concatInTurns } from '../concat-in-turns.ts';

const unzipAsync = promisify(unzip);

/**
 * An error is read up to here: its words stand at its beginning, and behind them MLflow may quote a statement of
 * megabytes. What is read is looked through for secrets, and a sender may choose what MLflow quotes, many times a second.
 */
export const LARGEST_ERROR = 16 * 1024;

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
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    chunks.push(chunk);
    if (size > limit) break;
  }
  return { bytes: await concatInTurns(chunks, Math.min(size, limit)), isCut: size > limit };
}

/** No compression was asked for, but some proxies compress all the same. */
function isCompressed(encoding: string | undefined): boolean {
  return encoding !== undefined && /^(x-)?gzip$|^deflate$/i.test(encoding.trim());
}
