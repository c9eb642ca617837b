import type { SecretMask } from '../masking/secret-mask.ts';
import { readBeginning } from '../destinations/answer-body.ts';

/** As the library gives it. */
export type UpstreamResponse = {
  readonly statusCode: number;
  readonly stream: AsyncIterable<Buffer> & NodeJS.ReadableStream;
  readonly headers: Readonly<Record<string, unknown>>;
};

/** Errors are words, and are held in memory to be looked through. */
export const LARGEST_ERROR_ANSWER = 1024 * 1024;

/** What describes a body as it came, and not as it is passed on. */
export const OF_THE_BODY = ['content-length', 'content-encoding', 'transfer-encoding'];

/**
 * The body of an error without what was sent to get it: clients show it, and logs keep it. Decompressed; undefined if
 * it is too large.
 */
export async function readErrorAnswer(
  { stream, headers }: UpstreamResponse,
  secrets: SecretMask,
): Promise<Buffer | undefined> {
  const encoding = headers['content-encoding'];
  const { bytes, isCut } = await readBeginning(
    stream,
    typeof encoding === 'string' ? encoding : undefined,
    LARGEST_ERROR_ANSWER,
  );
  return isCut ? undefined : await secrets.bytes(bytes);
}

/** Headers without what was sent. */
export function maskedHeaders<T extends object>(headers: T, secrets: SecretMask): T {
  const masked = Object.entries(headers).map(([name, value]: [string, unknown]) => [
    name,
    typeof value === 'string' ? secrets.text(value) : value,
  ]);
  return Object.fromEntries(masked) as T;
}
