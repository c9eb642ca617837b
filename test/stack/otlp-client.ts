import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';

/** PEM files; without certFile and keyFile no client certificate is shown. */
export type ClientFiles = { caFile: string; certFile?: string; keyFile?: string };
export type OtlpAnswer = {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
};

/**
 * One POST to `<url>/v1/traces`, as an OTLP/HTTP exporter does it, on a connection of its own.
 * @param headers content-type is application/json unless given
 */
export async function postTraces(
  url: string,
  files: ClientFiles,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): Promise<OtlpAnswer> {
  const { caFile, certFile, keyFile } = files;
  const agent = new Agent({
    connect: {
      ca: await readFile(caFile),
      ...(certFile !== undefined && { cert: await readFile(certFile) }),
      ...(keyFile !== undefined && { key: await readFile(keyFile) }),
    },
  });
  try {
    const answer = await request(`${url}/v1/traces`, {
      dispatcher: agent,
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    });
    return {
      status: answer.statusCode,
      headers: answer.headers,
      body: Buffer.from(await answer.body.arrayBuffer()),
    };
  } finally {
    await agent.close();
  }
}
