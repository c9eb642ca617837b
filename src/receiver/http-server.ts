import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server, ServerOptions } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { listenFailed } from '../errors.ts';
import { HANDSHAKE_TIMEOUT_MS } from './handshake-words.ts';
import { ARRIVAL_TIMES, MAX_HEADER_BYTES } from './refusal.ts';
import { loadTls } from './tls.ts';
import type { TlsFiles } from './tls.ts';

export type HttpTimes = Pick<
  ServerOptions,
  'headersTimeout' | 'requestTimeout' | 'connectionsCheckingInterval' | 'keepAliveTimeout'
>;

const HTTP_TIMES: HttpTimes = {
  /** A minute for all of it: 64 MiB over a 10 Mbit/s line. */
  headersTimeout: ARRIVAL_TIMES.headers,
  requestTimeout: ARRIVAL_TIMES.whole,
  connectionsCheckingInterval: 2_000,
  /** Longer than the 90 s after which Go's clients, the Collector among them, drop an idle connection themselves. */
  keepAliveTimeout: 120_000,
};

/**
 * A connection is cut if a request is in hand and nothing moves on it for this long: its client does not read its answers.
 */
const STALLED_MS = 120_000;

/**
 * The server of the receiver, over mTLS unless `tls` is undefined; it does not listen yet.
 *
 * @throws RelayError CERTIFICATE_INVALID
 */
export function createHttpServer(tls: TlsFiles | undefined, times: HttpTimes = {}): Server {
  const options: ServerOptions = {
    ...HTTP_TIMES,
    ...times,
    maxHeaderSize: MAX_HEADER_BYTES,
    /** Node's own answer to a missing Host has no body; ours has. */
    requireHostHeader: false,
  };
  const server =
    tls === undefined
      ? createServer(options)
      : createSecureServer({
          ...options,
          ...loadTls(tls),
          requestCert: true,
          rejectUnauthorized: true,
          handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
          /** See `Handshakes`. */
          pauseOnConnect: true,
        });
  server.timeout = STALLED_MS;
  // Their bytes are bounded. Node 22 leaves out what is beyond a number, and with that a second Host or Content-Type.
  server.maxHeadersCount = 0;
  return server;
}

/** @throws RelayError LISTEN_FAILED */
export async function listen(server: Server, host: string, port: number): Promise<void> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    throw listenFailed(host, port, 'receiver.listen', error);
  }
}
