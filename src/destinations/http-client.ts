import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { Agent, request } from 'undici';
import { networkWords, quote } from '../network-words.ts';
import { parseAuthorities } from '../certificates.ts';
import { watchFiles } from '../config/watch.ts';
import { RelayError, messageOf } from '../errors.ts';
import { SecretMask } from '../masking/secret-mask.ts';
import type { Logger } from '../telemetry/logger.ts';
import { LARGEST_ERROR, readBeginning, readWhole } from './answer-body.ts';

/** PEM files. The CA takes the place of those that are trusted by default. */
export type TlsFiles = { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string };

/** Of the time for a request, at most, until a connection stands. */
const CONNECT_SHARE = 0.8;

export type HttpClientOptions = {
  /** Of the destination, below which the keys of its TLS files stand. */
  readonly name: string;
  /** What stands before them in messages, where they are no keys of the configuration. */
  readonly tlsKeys?: string;
  readonly tls: TlsFiles;
  /** For a whole request, from connecting to the last byte of the answer. */
  readonly timeoutMs: number;
  /** Bytes of the body of a success, before and after decompression. */
  readonly maxResponseSize: number;
};

export type HttpRequest = {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** In place of the client's own, where it is shorter. */
  readonly timeoutMs?: number;
};

/**
 * One answer; header values as they came. Neither they nor the body have anything in them that was sent as a secret.
 */
export type HttpAnswer = {
  readonly kind: 'answer';
  readonly status: number;
  readonly contentType: string | undefined;
  readonly location: string | undefined;
  readonly retryAfter: string | undefined;
  /** When it was made, by the clock of who has made it. */
  readonly date?: string | undefined;
  readonly body: Buffer;
  /** Of an error that is very long, `body` is the beginning. */
  readonly isCut?: true;
};

export type HttpResult =
  | HttpAnswer
  /** A success, or what looks like one, whose body is over the limit; what was read of it is gone. */
  | { readonly kind: 'too large'; readonly status: number; readonly reason: string }
  /** Nothing came, or not all of it. The request may have been taken. */
  | {
      readonly kind: 'no answer';
      readonly reason: string;
      /** The time for the request was up. */
      readonly tooSlow?: true;
    };

export type HttpClient = {
  /** Never rejects for what the network or the other side does. Follows no redirects. */
  ask(request: HttpRequest, signal: AbortSignal): Promise<HttpResult>;
  /** Ends requests under way. */
  close(): Promise<void>;
};

/**
 * Keeps connections alive, and takes up TLS files when they change: for new connections, while requests under
 * way end on the old ones. Files that cannot be used then are logged, and the old ones stay.
 * @throws RelayError CERTIFICATE_INVALID, when the files cannot be used at the start
 */
export function createHttpClient(options: HttpClientOptions, log: Logger): HttpClient {
  const { timeoutMs, maxResponseSize } = options;
  const files = Object.values(options.tls);
  // Watched before they are read, so that no change is missed.
  const stopWatching = files.length === 0 ? () => {} : watchFiles(files, reload);
  let agent = createAgent();
  const secrets = new SecretMask();

  function createAgent(): Agent {
    return new Agent({
      // Before the deadline of the request, so that it is known what took so long.
      connect: { ...readTls(options), timeout: timeoutMs * CONNECT_SHARE },
      // One deadline covers all, set for each request.
      headersTimeout: 0,
      bodyTimeout: 0,
      allowH2: false,
    });
  }

  function reload(file: string): void {
    try {
      const old = agent;
      agent = createAgent();
      void old.close();
      log.info({ file }, 'TLS files changed: new connections use them');
    } catch (error) {
      // A pair is replaced one file after the other: for a moment they do not fit, which the next change ends.
      log.warn({ file }, `TLS files changed and cannot be used; the old ones stay: ${messageOf(error)}`);
    }
  }

  async function ask(asked: HttpRequest, signal: AbortSignal): Promise<HttpResult> {
    const { method, url, headers, body: content } = asked;
    const deadlineMs = Math.min(timeoutMs, asked.timeoutMs ?? timeoutMs);
    const deadline = AbortSignal.timeout(deadlineMs);
    secrets.addHeaders(headers);
    try {
      const ended = AbortSignal.any([signal, deadline]);
      const answer = await orEnded(
        request(url, {
          method,
          headers: { ...headers, 'accept-encoding': 'identity' },
          body: content ?? null,
          dispatcher: agent,
          signal: ended,
        }),
        ended,
      );
      const status = answer.statusCode;
      const header = (name: string) => {
        const value = first(answer.headers[name]);
        return value === undefined ? undefined : secrets.text(value);
      };
      const encoding = header('content-encoding');
      const body =
        status >= 200 && status < 300
          ? await readWhole(answer.body, encoding, maxResponseSize)
          : await readBeginning(answer.body, encoding, Math.min(maxResponseSize, LARGEST_ERROR));
      if (body === undefined) {
        return {
          kind: 'too large',
          status,
          reason: `${url.host} answers ${status} with more than ${maxResponseSize} bytes`,
        };
      }
      const contentType = header('content-type');
      return {
        kind: 'answer',
        status,
        contentType,
        location: header('location'),
        retryAfter: header('retry-after'),
        date: header('date'),
        body: await secrets.bytes(body.bytes, { keepsLength: /protobuf/i.test(contentType ?? '') }),
        ...(body.isCut && { isCut: true }),
      };
    } catch (error) {
      const reason = secrets.text(networkWords(error, url, deadlineMs));
      return { kind: 'no answer', reason, ...(error === deadline.reason ? { tooSlow: true } : {}) };
    }
  }

  return {
    ask,
    async close() {
      stopWatching();
      await agent.destroy();
    },
  };
}

/** A request that waits for its connection would only end with that. */
async function orEnded<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const end = () => reject(signal.reason as Error);
  if (signal.aborted) end();
  signal.addEventListener('abort', end, { once: true });
  try {
    return await Promise.race([work, ended]);
  } finally {
    signal.removeEventListener('abort', end);
  }
}

/** @throws RelayError CERTIFICATE_INVALID */
export function readTls({ name, tls, tlsKeys }: Pick<HttpClientOptions, 'name' | 'tls' | 'tlsKeys'>): {
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
} {
  const keys = tlsKeys ?? `destinations.${name}.tls.`;
  const ca = readPem(`${keys}ca_file`, tls.caFile);
  const cert = readPem(`${keys}cert_file`, tls.certFile);
  const key = readPem(`${keys}key_file`, tls.keyFile);
  if (ca !== undefined) {
    attempt(() => parseAuthorities(ca.toString('latin1')), `${keys}ca_file: ${tls.caFile}`);
  }
  const material = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
  // Says at once what connections would say one by one: no PEM, or a key of another certificate.
  attempt(
    () => createSecureContext(material),
    `${keys}cert_file and key_file: ${tls.certFile} and ${tls.keyFile} cannot be used:`,
  );
  return material;
}

function readPem(key: string, file: string | undefined): Buffer | undefined {
  return file === undefined
    ? undefined
    : attempt(() => readFileSync(file), `${key}: ${file} cannot be read:`);
}

function attempt<T>(action: () => T, problem: string): T {
  try {
    return action();
  } catch (cause) {
    throw new RelayError('CERTIFICATE_INVALID', `${problem} ${quote(messageOf(cause))}`, { cause });
  }
}

function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
