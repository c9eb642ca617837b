import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { buffer } from 'node:stream/consumers';
import type { ClientFiles, OtlpAnswer } from '../../stack/otlp-client.ts';

export type SlowRequest = {
  /** Sends the body, and reads the answer. */
  finish(): Promise<OtlpAnswer>;
  /** Sends the first half of the body, and goes away. */
  abandon(): void;
};

/** A request of which the relay has the head, and has said that it wants the body (100 Continue), which is not sent yet. */
export async function beginRequest(
  url: string,
  { caFile, certFile, keyFile }: Required<ClientFiles>,
  body: Uint8Array,
): Promise<SlowRequest> {
  const outgoing = request(`${url}/v1/traces`, {
    method: 'POST',
    agent: false,
    ca: await readFile(caFile),
    cert: await readFile(certFile),
    key: await readFile(keyFile),
    headers: {
      'content-type': 'application/x-protobuf',
      'content-length': body.length,
      expect: '100-continue',
    },
  });
  // From here on, so that an end of the connection is not missed; heard of by whoever finishes the request.
  const response = once(outgoing, 'response') as Promise<[IncomingMessage]>;
  response.catch(() => {});
  outgoing.on('error', () => {});
  outgoing.flushHeaders();
  await once(outgoing, 'continue');
  return {
    async finish() {
      outgoing.end(body);
      const [answer] = await response;
      return { status: answer.statusCode ?? 0, headers: answer.headers, body: await buffer(answer) };
    },
    abandon() {
      outgoing.write(body.subarray(0, body.length / 2), () => outgoing.destroy());
    },
  };
}
