import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import type { Agent as HttpAgent, ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Agent } from 'node:https';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { startReceiver } from '../../src/receiver/server.ts';
import type { ReceiverDeps, ReceiverOptions } from '../../src/receiver/server.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { writeDevelopmentCertificates } from '../stack/certificates.ts';
import type { DevelopmentCertificates, KeyPair } from '../stack/certificates.ts';
import { MemoryQueue } from './memory-queue.ts';
import { readStatus } from './payloads.ts';

export const CLIENT_URI = 'spiffe://cluster.local/ns/observability/sa/collector';
export const ROUTE = { name: 'default', destinations: ['mlflow'], variables: {} };

/** A folder that is gone after the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'receiver-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export type LogLine = { level: number; msg: string; [field: string]: unknown };

/** A logger that keeps its lines, all levels. */
export function memoryLog() {
  const lines: LogLine[] = [];
  const waiting: { wanted: (line: LogLine) => boolean; resolve: (line: LogLine) => void }[] = [];
  const log = pino(
    { level: 'trace', base: null },
    {
      write(text: string) {
        const line = JSON.parse(text) as LogLine;
        lines.push(line);
        for (const { wanted, resolve } of waiting) if (wanted(line)) resolve(line);
      },
    },
  );
  /** The first line that is wanted, when it comes or has come. */
  const seen = (wanted: (line: LogLine) => boolean): Promise<LogLine> => {
    const found = lines.find(wanted);
    return found === undefined
      ? new Promise((resolve) => waiting.push({ wanted, resolve }))
      : Promise.resolve(found);
  };
  return { log, lines, seen };
}

export type Answer = { status: number; headers: IncomingHttpHeaders; body: Buffer };

export type SendOptions = {
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  body?: Buffer;
  /** Undefined: the client of the development certificates. */
  client?: KeyPair | undefined;
  agent?: Agent | HttpAgent;
  /** Of this machine, by which the receiver sees the client. */
  localAddress?: string;
};

/** A receiver on a free port with an in-memory queue, over mTLS unless told otherwise; stopped after the test. */
export async function startTestReceiver(
  options: Partial<ReceiverOptions> &
    Partial<Pick<ReceiverDeps, 'route' | 'now'>> & { plaintext?: boolean } = {},
) {
  const { plaintext = false, route = () => ROUTE, now = Date.now, ...rest } = options;
  const folder = temporaryFolder();
  const certificates = await writeDevelopmentCertificates(folder, {
    clientUri: CLIENT_URI,
    clientDnsNames: ['Collector.Example.com'],
  });
  const queue = new MemoryQueue();
  const metrics = createMetrics();
  const memory = memoryLog();
  const { certFile, keyFile, caFile } = certificates;
  const receiver = await startReceiver(
    {
      host: '127.0.0.1',
      port: 0,
      tls: plaintext ? undefined : { certFile, keyFile, clientCaFile: caFile },
      allowedClients: [],
      maxRequestBodySize: 1024 * 1024,
      maxResourceSize: 1024 * 1024,
      repair: true,
      ...rest,
    },
    { queue, route, metrics, log: memory.log, now },
  );
  onTestFinished(() => receiver.stop(0));
  const client = await certificates.ca.issue({
    commonName: 'collector',
    uris: [CLIENT_URI],
    dnsNames: ['Collector.Example.com'],
    usage: 'client',
  });

  const open = (sendOptions: SendOptions = {}): ClientRequest => {
    const { method = 'POST', path = '/v1/traces', headers = {}, agent, localAddress } = sendOptions;
    const target = { host: '127.0.0.1', port: receiver.port, localAddress, method, path, headers };
    if (plaintext) return httpRequest({ ...target, agent: agent ?? false });
    return httpsRequest({
      ...target,
      ...tlsOptions(certificates, 'client' in sendOptions ? sendOptions.client : client),
      agent: agent ?? false,
    });
  };

  const send = async (sendOptions: SendOptions = {}): Promise<Answer> => {
    const { body } = sendOptions;
    const headers = { 'content-type': 'application/x-protobuf', ...sendOptions.headers };
    const request = open({ ...sendOptions, headers });
    request.end(body);
    return readAnswer(request);
  };

  /** A TLS connection, to write on by hand. */
  const dial = async (pair: KeyPair | undefined = client): Promise<TLSSocket> => {
    const socket = connect({
      host: '127.0.0.1',
      port: receiver.port,
      ...tlsOptions(certificates, pair),
      servername: 'localhost',
    });
    await once(socket, 'secureConnect');
    return socket;
  };

  return { receiver, queue, metrics, certificates, client, open, send, dial, folder, ...memory };
}

export type TestReceiver = Awaited<ReturnType<typeof startTestReceiver>>;

export function tlsOptions({ ca }: DevelopmentCertificates, pair: KeyPair | undefined) {
  const own = pair === undefined ? {} : { cert: pair.certPem, key: pair.keyPem };
  return { ca: ca.certPem, ...own };
}

export async function readAnswer(request: ClientRequest): Promise<Answer> {
  // What happens to a request after its answer came is no concern of the client's.
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  request.on('error', () => {});
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) };
}

/** When a socket is closed, by an end or by a reset. */
export function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.on('error', () => {}).once('close', () => resolve());
  });
}

/** What is read from a socket until the other side ends it, as one HTTP answer. */
export async function readRawAnswer(socket: NodeJS.ReadableStream): Promise<Answer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const all = Buffer.concat(chunks);
  const headEnd = all.indexOf('\r\n\r\n');
  const [statusLine = '', ...lines] = all.subarray(0, headEnd).toString('latin1').split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
  );
  return { status: Number(statusLine.split(' ')[1]), headers, body: all.subarray(headEnd + 4) };
}

export function statusOf(answer: Answer): { code: number; message: string } {
  return readStatus(answer.headers['content-type'], answer.body);
}
