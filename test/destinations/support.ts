import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import type { TokenResult, TokenSource } from '../../src/auth/token-source.ts';
import { sendJson, startServer } from '../auth/support.ts';

/** What the stand-in was asked: `POST /v1/traces`, and the like. */
export type Asked = {
  readonly what: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
};

export type Experiment = { experiment_id: string; name: string; lifecycle_stage: 'active' | 'deleted' };

/**
 * Stands in for MLflow where the real one cannot be brought to answer so: it knows experiments, and takes
 * traces. `answer` may answer in its place, by returning true.
 */
export async function startUpstream(
  answer: (asked: Asked, response: ServerResponse) => boolean = () => false,
  basePath = '',
) {
  const asked: Asked[] = [];
  const experiments: Experiment[] = [];
  const find = (key: 'experiment_id' | 'name', value: unknown) =>
    experiments.find((experiment) => experiment[key] === value);

  const server = await startServer(async (request, response) => {
    const url = new URL(request.url ?? '', 'http://upstream');
    const path = url.pathname.replace(basePath, '').replace('/api/2.0/mlflow/experiments/', '');
    const raw = await buffer(request);
    const body = request.headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw;
    const one: Asked = { what: `${request.method} ${path}`, headers: request.headers, body };
    asked.push(one);
    if (answer(one, response)) return;
    if (!url.pathname.startsWith(basePath)) {
      response.writeHead(404).end();
      return;
    }

    if (path === 'get' || path === 'get-by-name') {
      const experiment =
        path === 'get'
          ? find('experiment_id', url.searchParams.get('experiment_id'))
          : find('name', url.searchParams.get('experiment_name'));
      if (experiment === undefined) {
        sendJson(response, 404, { error_code: 'RESOURCE_DOES_NOT_EXIST', message: 'No such experiment' });
      } else sendJson(response, 200, { experiment });
    } else if (path === 'create') {
      const { name } = JSON.parse(body.toString()) as { name: string };
      if (find('name', name) !== undefined) {
        sendJson(response, 400, { error_code: 'RESOURCE_ALREADY_EXISTS', message: 'Experiment exists' });
        return;
      }
      const experiment: Experiment = {
        experiment_id: String(experiments.length + 1),
        name,
        lifecycle_stage: 'active',
      };
      experiments.push(experiment);
      sendJson(response, 200, { experiment_id: experiment.experiment_id });
    } else if (path === '/v1/traces') {
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    } else {
      response.writeHead(404).end();
    }
  });

  return {
    ...server,
    asked,
    experiments,
    /** How often each thing was asked. */
    counts: () => {
      const counts: Record<string, number> = {};
      for (const { what } of asked) counts[what] = (counts[what] ?? 0) + 1;
      return counts;
    },
  };
}

/** Hands out `token 1`, and another one after each that is dropped or doubted; or what `result` is set to. */
export function countingTokens(): TokenSource & {
  result: TokenResult | undefined;
  readonly dropped: string[];
  readonly doubted: string[];
} {
  const dropped: string[] = [];
  const doubted: string[] = [];
  let serial = 1;
  const replaces = (gone: string[]) => (value: string) => {
    if (value !== `token ${serial}`) return;
    gone.push(value);
    serial += 1;
  };
  return {
    result: undefined,
    dropped,
    doubted,
    token() {
      return Promise.resolve(this.result ?? { kind: 'token', value: `token ${serial}` });
    },
    drop: replaces(dropped),
    doubt: replaces(doubted),
    postpone: () => {},
    expiresAt: () => undefined,
    close: () => Promise.resolve(),
  };
}
