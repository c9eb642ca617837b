import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';

/** PEM files; without certFile and keyFile no client certificate is shown. */
export type ClientFiles = { caFile: string; certFile?: string; keyFile?: string };
export type OtlpAnswer = {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
};

/** An OTLP/HTTP client that keeps its connections, as exporters do. */
export type OtlpClient = {
  /** One POST to `<url>/v1/traces`; content-type is application/x-protobuf unless given. */
  post(body: string | Uint8Array, headers?: Record<string, string>): Promise<OtlpAnswer>;
  close(): Promise<void>;
};

export async function createOtlpClient(url: string, files: ClientFiles): Promise<OtlpClient> {
  const { caFile, certFile, keyFile } = files;
  const agent = new Agent({
    connect: {
      ca: await readFile(caFile),
      ...(certFile !== undefined && { cert: await readFile(certFile) }),
      ...(keyFile !== undefined && { key: await readFile(keyFile) }),
    },
  });
  return {
    async post(body, headers = {}) {
      const answer = await request(`${url}/v1/traces`, {
        dispatcher: agent,
        method: 'POST',
        headers: { 'content-type': 'application/x-protobuf', ...headers },
        body,
      });
      return {
        status: answer.statusCode,
        headers: answer.headers,
        body: Buffer.from(await answer.body.arrayBuffer()),
      };
    },
    close: () => agent.destroy(),
  };
}

/** One POST on a connection of its own; content-type is application/json unless given. */
export async function postTraces(
  url: string,
  files: ClientFiles,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): Promise<OtlpAnswer> {
  const client = await createOtlpClient(url, files);
  try {
    return await client.post(body, { 'content-type': 'application/json', ...headers });
  } finally {
    await client.close();
  }
}
