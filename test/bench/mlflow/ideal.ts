import { Pool } from 'undici';
import { StackError } from '../../stack/processes.ts';

export type IdealTarget = { mlflowUrl: string; experimentId: string; token: string };

/**
 * Posts requests to MLflow, so many at a time, each connection the next when the one before was answered: what
 * MLflow can take of requests that could not be made better.
 */
export async function postIdeally(
  bodies: readonly Buffer[],
  atOnce: number,
  { mlflowUrl, experimentId, token }: IdealTarget,
  signal: AbortSignal,
): Promise<void> {
  const pool = new Pool(mlflowUrl, { connections: atOnce, pipelining: 1 });
  let next = 0;

  async function connection(): Promise<void> {
    for (let body = bodies[next++]; body !== undefined; body = bodies[next++]) {
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
