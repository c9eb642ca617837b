import { setTimeout as pause } from 'node:timers/promises';
import { createHttpClient } from '../destinations/http-client.ts';
import type { HttpAnswer, HttpClient } from '../destinations/http-client.ts';
import { bareUrl, quote } from '../network-words.ts';
import { CONTENT_TYPE, readExportResponse } from '../otlp/response.ts';
import { Status } from '../otlp/schema.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { RelayEndpoint } from './relay-endpoint.ts';

/** What became of a request at the relay. */
export type Sent = { readonly kind: 'taken' } | { readonly kind: 'refused'; readonly reason: string };

export type Sender = {
  /**
   * One ExportTraceServiceRequest in protobuf. Sent again while the relay says that it is busy, and as it says when
   * (429, 502, 503 and 504, OTLP specification "Failures"), until `deadline` on the clock of performance.now().
   */
  send(payload: Uint8Array, deadline: number): Promise<Sent>;
  close(): Promise<void>;
};

const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const TIMEOUT_MS = 30_000;
const HANG_UP = /closed the connection|TLS handshake/;
/** Where the relay does not say when. */
const RETRY_MS = 1_000;
const LARGEST_ANSWER = 1024 * 1024;

/** @throws RelayError CERTIFICATE_INVALID */
export function createSender({ url, tls }: RelayEndpoint, log: Logger, signal: AbortSignal): Sender {
  const http: HttpClient = createHttpClient(
    {
      name: 'relay',
      tlsKeys: 'for the relay: ',
      tls,
      timeoutMs: TIMEOUT_MS,
      maxResponseSize: LARGEST_ANSWER,
    },
    log,
  );

  async function send(payload: Uint8Array, deadline: number): Promise<Sent> {
    for (;;) {
      const headers = { 'content-type': CONTENT_TYPE.protobuf };
      const result = await http.ask({ method: 'POST', url, headers, body: payload }, signal);
      if (result.kind !== 'answer') return refused(inOptions(result.reason) + hint(result.reason));
      if (!RETRYABLE.has(result.status)) return read(result);
      const after = retryAfterMs(result.retryAfter);
      if (performance.now() + after > deadline) return read(result);
      await pause(after, undefined, { signal });
    }
  }

  function hint(reason: string): string {
    if (!HANG_UP.test(reason)) return '';
    if (url.protocol === 'http:') return '; if it accepts only TLS, its URL begins with https://';
    // What asks for a client certificate often just hangs up.
    return tls.certFile === undefined
      ? '; it was shown no client certificate: give --cert-file and --key-file'
      : '';
  }

  function read(answer: HttpAnswer): Sent {
    const where = bareUrl(url);
    if (answer.status !== 200) return refused(`${where} answers ${answer.status}${said(answer)}`);
    const response = readExportResponse(answer.contentType, answer.body);
    if (!response.ok)
      return refused(`${where} answers 200 without an OTLP response (${quote(response.reason)})`);
    return response.rejectedSpans === 0
      ? { kind: 'taken' }
      : refused(
          `${where} has rejected ${response.rejectedSpans} spans: ${quote(response.message ?? 'no reason given')}`,
        );
  }

  return { send, close: () => http.close() };
}

function refused(reason: string): Sent {
  return { kind: 'refused', reason };
}

/** Of what is a key of the relay's configuration elsewhere. */
function inOptions(reason: string): string {
  return reason.replace(
    "set ca_file to the CA's certificate",
    'set --ca-file or OTEL_EXPORTER_OTLP_CERTIFICATE to the certificate of its CA',
  );
}

function said({ contentType, body }: HttpAnswer): string {
  const text =
    contentType === CONTENT_TYPE.protobuf ? statusMessage(body) : body.toString('utf8').slice(0, 2_000);
  return text === undefined || text === '' ? '' : `: ${quote(text)}`;
}

function statusMessage(body: Uint8Array): string | undefined {
  try {
    return (Status.decode(body) as unknown as { message?: string }).message;
  } catch {
    return undefined;
  }
}

/** RFC 9110 section 10.2.3, of which the relay gives seconds. */
function retryAfterMs(value: string | undefined): number {
  return value !== undefined && /^\s*\d+\s*$/.test(value) ? Number(value) * 1_000 : RETRY_MS;
}
