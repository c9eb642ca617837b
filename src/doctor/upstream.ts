import type { HttpClient, HttpResult } from '../destinations/http-client.ts';
import { experimentWords } from '../destinations/experiment-words.ts';
import type { ExperimentChoice } from '../destinations/experiment-words.ts';
import type { Asked } from '../destinations/mlflow-answers.ts';
import { NOTHING } from '../destinations/mlflow.ts';
import { NEVER_ABORTS } from '../never-aborts.ts';
import { readingOfDate } from './clocks.ts';
import type { Reading } from './clocks.ts';
import type { Keys } from './way.ts';

/** An MLflow to be asked, and who asks. */
export type Upstream = {
  /** With a slash at its end. */
  readonly base: URL;
  readonly http: HttpClient;
  /** Undefined: none is configured, or none was to be had. */
  readonly token: string | undefined;
  readonly workspace: string | undefined;
  readonly experiment: ExperimentChoice;
  /** As people know it. */
  readonly account: string;
  readonly keys: Keys;
};

/** One question, and what came of it. */
export type Answered = {
  readonly url: URL;
  readonly result: HttpResult;
  /** Of the clock of who has answered. */
  readonly clock: Reading | undefined;
};

/** @param path below `base` */
export function get(upstream: Upstream, path: string): Promise<Answered> {
  return ask(upstream, 'GET', path, { accept: 'application/json' });
}

/** Traces that are none: what would store them stores nothing. */
export function sendNothing(upstream: Upstream, experimentId: string): Promise<Answered> {
  return ask(
    upstream,
    'POST',
    'v1/traces',
    {
      accept: 'application/x-protobuf',
      'content-type': 'application/x-protobuf',
      'x-mlflow-experiment-id': experimentId,
    },
    Buffer.concat(NOTHING),
  );
}

export function withoutToken(upstream: Upstream): Upstream {
  return { ...upstream, token: undefined };
}

/** What the relay's table of answers wants to know. */
export function askedOf({ experiment, account }: Upstream, url: URL): Asked {
  return { url, experiment: experimentWords(experiment), account, now: Date.now() };
}

export async function ask(
  { base, http, token, workspace }: Upstream,
  method: 'GET' | 'POST',
  path: string | URL,
  headers: Readonly<Record<string, string>>,
  body?: Uint8Array,
): Promise<Answered> {
  const url = new URL(path, base);
  const askedAt = Date.now();
  const result = await http.ask(
    {
      method,
      url,
      headers: {
        ...headers,
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(workspace !== undefined && { 'x-mlflow-workspace': workspace }),
      },
      ...(body && { body }),
    },
    NEVER_ABORTS,
  );
  const clock = result.kind === 'answer' ? readingOfDate(result.date, askedAt, Date.now()) : undefined;
  return { url, result, clock };
}
