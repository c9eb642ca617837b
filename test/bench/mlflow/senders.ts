import { setTimeout as pause } from 'node:timers/promises';
import type { DevelopmentCertificates } from '../../stack/certificates.ts';
import { createOtlpClient } from '../../stack/otlp-client.ts';
import { StackError } from '../../stack/processes.ts';

/** A request that a service begins to send at a time of Unix, unless it still sends the one before. */
export type TimedExport = { readonly service: number; readonly at: number; readonly body: Buffer };

export type Sent = {
  /** Answers that asked to come again, which was done. */
  readonly postponed: number;
  /** How late an export was at most, by the answers before it, ms. */
  readonly latestMs: number;
};

/** What OTLP/HTTP lets a client send again. */
const RETRYABLE = new Set([429, 502, 503, 504]);
const RETRY_MS = 500;

/**
 * Each service on a connection of its own with a client certificate, one request at a time, as SDKs do. Resolves
 * when all was answered 200.
 * @throws StackError when a request is refused
 */
export async function sendExports(
  url: string,
  certificates: DevelopmentCertificates,
  exports: readonly TimedExport[],
  signal: AbortSignal,
): Promise<Sent> {
  const { caFile, clientCertFile, clientKeyFile } = certificates;
  const files = { caFile, certFile: clientCertFile, keyFile: clientKeyFile };
  let postponed = 0;
  let latestMs = 0;

  async function runService(own: readonly TimedExport[]): Promise<void> {
    const client = await createOtlpClient(url, files);
    try {
      for (const { at, body } of own) {
        await pause(Math.max(0, at - Date.now()), undefined, { signal });
        latestMs = Math.max(latestMs, Date.now() - at);
        for (;;) {
          signal.throwIfAborted();
          const answer = await client.post(body);
          if (answer.status === 200) break;
          const words = answer.body.toString('utf8').slice(0, 200);
          if (!RETRYABLE.has(answer.status))
            throw new StackError(`a request was answered ${answer.status}: ${words}`);
          postponed++;
          await pause(RETRY_MS, undefined, { signal });
        }
      }
    } finally {
      await client.close();
    }
  }

  const services = [...Map.groupBy(exports, ({ service }) => service).values()];
  await Promise.all(services.map(runService));
  return { postponed, latestMs };
}
