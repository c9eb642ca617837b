import { parseExactly } from '../../src/inject/exact-json.ts';
import { readStoredTrace } from '../../src/inject/stored-trace.ts';
import type { StoredTrace } from '../../src/inject/stored-trace.ts';
import { waitFor } from './processes.ts';

export type {
  StoredAttributes,
  StoredSpan,
  StoredTrace,
  StoredValue,
} from '../../src/inject/stored-trace.ts';

export type Permission = 'READ' | 'EDIT' | 'MANAGE' | 'NO_PERMISSIONS';

export type MlflowClient = {
  /** @returns its id, of the existing one if there is one of that name */
  ensureExperiment(name: string): Promise<string>;
  /** @returns its id, or undefined when there is none, or none for this user */
  findExperiment(name: string): Promise<string | undefined>;
  /** Lets a user, who must have been seen by MLflow before, at an experiment that this client manages. */
  grant(experimentId: string, username: string, permission: Permission): Promise<void>;
  /** @returns ids in hex of all traces, newest first */
  searchTraces(experimentId: string): Promise<string[]>;
  /** @param traceId in hex */
  getTrace(traceId: string): Promise<StoredTrace | undefined>;
  /** Asks until the trace has this many spans (1 unless given) and its root. */
  waitForTrace(
    traceId: string,
    options?: { spans?: number; deadlineMs?: number; signal?: AbortSignal },
  ): Promise<StoredTrace>;
  /** Asks until the experiment has this many traces. */
  waitForTraces(experimentId: string, count: number, deadlineMs?: number): Promise<string[]>;
};

/** Asking takes from the one worker of MLflow what storing needs. */
const POLL_MS = 500;

/** MLflow's REST API as the user whose token is given; `token` is called for each request. */
export function createMlflowClient(url: string, token: () => Promise<string>): MlflowClient {
  async function request(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; body: Json }> {
    const response = await fetch(url + path, {
      method,
      redirect: 'error',
      headers: {
        authorization: `Bearer ${await token()}`,
        // MLflow may be stopped between two requests, and cuts idle connections.
        connection: 'close',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(30_000),
    });
    const text = await response.text();
    try {
      return { status: response.status, body: parseExactly(text) as Json };
    } catch {
      throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 200)}`);
    }
  }

  async function call(method: string, path: string, body?: unknown): Promise<Json> {
    const answer = await request(method, path, body);
    if (answer.status === 200) return answer.body;
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 300)}`);
  }

  async function findExperiment(name: string): Promise<string | undefined> {
    const path = `/api/2.0/mlflow/experiments/get-by-name?experiment_name=${encodeURIComponent(name)}`;
    const { status, body } = await request('GET', path);
    return status === 200 ? String(body.experiment.experiment_id) : undefined;
  }

  async function searchTraces(experimentId: string): Promise<string[]> {
    const found: string[] = [];
    let page: string | undefined;
    do {
      const body = await call('POST', '/api/3.0/mlflow/traces/search', {
        locations: [{ type: 'MLFLOW_EXPERIMENT', mlflow_experiment: { experiment_id: experimentId } }],
        max_results: 500,
        ...(page === undefined ? {} : { page_token: page }),
      });
      for (const trace of body.traces ?? []) found.push(trace.trace_id.slice('tr-'.length));
      page = body.next_page_token || undefined;
    } while (page !== undefined);
    return found;
  }

  async function getTrace(traceId: string): Promise<StoredTrace | undefined> {
    const { status, body } = await request('GET', `/api/3.0/mlflow/traces/get?trace_id=tr-${traceId}`);
    // Of a trace that is not there nobody can have a permission.
    if (status === 404 || status === 403) return undefined;
    if (status !== 200) throw new Error(`trace ${traceId}: ${status} ${JSON.stringify(body).slice(0, 300)}`);
    return readStoredTrace(traceId, body);
  }

  return {
    findExperiment,
    searchTraces,
    getTrace,
    async ensureExperiment(name) {
      const existing = await findExperiment(name);
      if (existing !== undefined) return existing;
      const created = await call('POST', '/api/2.0/mlflow/experiments/create', { name });
      return String(created.experiment_id);
    },
    async grant(experimentId, username, permission) {
      const user = encodeURIComponent(username);
      const path = `/api/2.0/mlflow/permissions/users/${user}/experiments/${experimentId}`;
      await call('POST', path, { permission });
    },
    waitForTrace: (traceId, { spans = 1, deadlineMs = 60_000, signal } = {}) =>
      waitFor(
        `trace ${traceId} was not in MLflow with ${spans} spans and its root`,
        deadlineMs,
        async () => {
          const trace = await getTrace(traceId);
          const isWhole = trace !== undefined && trace.spans.length >= spans && trace.state !== 'IN_PROGRESS';
          return isWhole ? trace : undefined;
        },
        { everyMs: POLL_MS, signal },
      ),
    waitForTraces: (experimentId, count, deadlineMs = 60_000) =>
      waitFor(
        `there were not ${count} traces in experiment ${experimentId}`,
        deadlineMs,
        async () => {
          const found = await searchTraces(experimentId);
          return found.length >= count ? found : undefined;
        },
        { everyMs: POLL_MS },
      ),
  };
}

// oxlint-disable-next-line typescript/no-explicit-any -- answers of a foreign program, looked at field by field
type Json = any;
