import { once } from 'node:events';
import { connect } from 'node:net';
import zlib from 'node:zlib';
import type { Encoding } from '../../src/otlp/response.ts';
import { ExportTraceServiceResponse, Status } from '../../src/otlp/schema.ts';
import { tracesToJson } from '../../src/otlp/traces-json.ts';
import { readRawAnswer, startTestReceiver } from './harness.ts';
import type { Answer, SendOptions, TestReceiver } from './harness.ts';
import { tracesJson, tracesProtobuf } from './payloads.ts';

export const ENCODINGS = ['protobuf', 'json'] as const;
export const TYPES = { protobuf: 'application/x-protobuf', json: 'application/json' } as const;

export const CODINGS: readonly [Record<string, string>, (body: Buffer) => Buffer][] = [
  [{}, (body) => body],
  [{ 'content-encoding': 'gzip' }, (body) => zlib.gzipSync(body)],
];

/** A relay over plaintext, that is stopped after the test. */
export async function startRelay(
  encoding: Encoding,
  options: Parameters<typeof startTestReceiver>[0] = {},
): Promise<Relay> {
  return new Relay(await startTestReceiver({ plaintext: true, ...options }), encoding);
}

/** A relay, and a client of it that keeps to one encoding. */
export class Relay {
  readonly receiver: TestReceiver;
  readonly encoding: Encoding;

  constructor(receiver: TestReceiver, encoding: Encoding) {
    this.receiver = receiver;
    this.encoding = encoding;
  }

  /** A request with spans of these names, of which the first `badIds` have no span id that can be. */
  traces(names: readonly string[], badIds = 0): Buffer {
    return this.encoding === 'json' ? tracesJson(names, { badIds }) : tracesProtobuf(names, { badIds });
  }

  /** The answers to the body as it is, and in gzip. */
  async post(body: Buffer, options: SendOptions = {}): Promise<[Answer, Answer]> {
    const answers: Answer[] = [];
    for (const [coding, encode] of CODINGS) {
      answers.push(await this.send({ ...options, headers: coding, body: encode(body) }));
    }
    return answers as [Answer, Answer];
  }

  send(options: SendOptions): Promise<Answer> {
    const headers = { 'content-type': TYPES[this.encoding], ...options.headers };
    return this.receiver.send({ ...options, headers });
  }

  /** The answer to a head that is written by hand. */
  async raw(startLine: string, ...headers: readonly string[]): Promise<Answer> {
    const socket = connect(this.receiver.receiver.port, '127.0.0.1');
    await once(socket, 'connect');
    const lines = [startLine, 'host: relay', `content-type: ${TYPES[this.encoding]}`, ...headers];
    socket.end(`${lines.join('\r\n')}\r\n\r\n`);
    return readRawAnswer(socket);
  }

  response({ body }: Answer): Record<string, unknown> {
    return this.encoding === 'json'
      ? JSON.parse(body.toString())
      : ExportTraceServiceResponse.decode(body).toJSON();
  }

  status({ body }: Answer): Record<string, unknown> {
    return this.encoding === 'json' ? JSON.parse(body.toString()) : Status.decode(body).toJSON();
  }

  /** Each request that was stored, as OTLP/JSON. */
  get stored(): unknown[] {
    return this.receiver.queue.records.map(({ payload }) => tracesToJson(payload));
  }
}

export const statuses = (answers: readonly Answer[]) => answers.map(({ status }) => status);
