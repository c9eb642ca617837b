import { setTimeout as pause } from 'node:timers/promises';
import { Pool } from 'undici';
import { StackError } from '../../stack/processes.ts';

/** A request, and from when on it can be sent; a time of Unix. */
export type IdealRequest = { readonly at: number; readonly body: Buffer };

export type IdealTarget = { mlflowUrl: string; experimentId: string; token: string };

/**
 * Posts requests to MLflow, so many at a time, each connection the next when the one before was answered: what
 * MLflow can take of requests that could not be made better.
 */
export async function postIdeally(
  requests: readonly IdealRequest[],
  atOnce: number,
  { mlflowUrl, experimentId, token }: IdealTarget,
  signal: AbortSignal,
): Promise<void> {
  const pool = new Pool(mlflowUrl, { connections: atOnce, pipelining: 1 });
  let next = 0;

  async function connection(): Promise<void> {
    for (let request = requests[next++]; request !== undefined; request = requests[next++]) {
      const { at, body } = request;
      await pause(Math.max(0, at - Date.now()), undefined, { signal });
      const answer = await pool.request({
        method: 'POST',
        path: '/v1/traces',
        headers: {
          authorization: `Bearer ${token}`,
          accept: 'application/x-protobuf',
          'content-type': 'application/x-protobuf',
          'x-mlflow-experiment-id': experimentId,
        },
        body,
        signal,
      });
      const words = await answer.body.text();
      if (answer.statusCode !== 200) {
        throw new StackError(`MLflow answered ${answer.statusCode}: ${words.slice(0, 200)}`);
      }
    }
  }

  try {
    await Promise.all(Array.from({ length: atOnce }, connection));
  } finally {
    await pool.destroy();
  }
}
