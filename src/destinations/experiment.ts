import type { Logger } from '../telemetry/logger.ts';
import type { SendOutcome } from './destination.ts';
import { experimentWords } from './experiment-words.ts';
import type { ExperimentChoice } from './experiment-words.ts';
import type { HttpResult } from './http-client.ts';
import { forbiddenByProxy, readSharedAnswer, sentence, withDoubt, withoutAnswer } from './mlflow-answers.ts';
import type { Asked } from './mlflow-answers.ts';
import { isPassing, readJsonObject, readMlflowError } from './mlflow-error.ts';

/** An experiment may be deleted at any time, and MLflow goes on to answer 200 to traces for it. */
const RECHECK_MS = 10_000;

export type Resolved =
  { readonly ok: true; readonly id: string } | { readonly ok: false; readonly outcome: SendOutcome };

/** One request to MLflow's REST API, with whatever it needs to be let in; `body` is sent as JSON. */
export type RestCall = (method: 'GET' | 'POST', url: URL, body?: unknown) => Promise<HttpResult>;

export type ExperimentResolver = {
  /**
   * The id to send traces to; looked up once however many ask, kept for a while. Never rejects.
   * @param account who asks, as people know it
   */
  resolve(call: RestCall, account: string): Promise<Resolved>;
  /** The next `resolve` looks again. */
  forget(): void;
};

/**
 * Finds the experiment by MLflow's REST API (`/api/2.0/mlflow/experiments`, MLflow 3.18), creates it if it is
 * named and missing, and sees to it that it is not deleted.
 * @param base url of MLflow, with a trailing slash
 * @param recheckMs for how long an answer is believed
 */
export function createExperimentResolver(
  choice: ExperimentChoice,
  base: URL,
  log: Logger,
  recheckMs = RECHECK_MS,
): ExperimentResolver {
  let known: { id: string; until: number } | undefined;
  let looking: Promise<Resolved> | undefined;

  async function resolve(call: RestCall, account: string): Promise<Resolved> {
    if (known !== undefined && performance.now() < known.until) return { ok: true, id: known.id };
    looking ??= look(call, account).finally(() => {
      looking = undefined;
    });
    return await looking;
  }

  async function look(call: RestCall, account: string): Promise<Resolved> {
    const found = await ('id' in choice
      ? checkId(choice.id, call, account)
      : findOrCreate(choice.name, call, account));
    if (found.ok) {
      known = { id: found.id, until: performance.now() + recheckMs };
      return found;
    }
    if (known !== undefined && found.outcome.kind === 'retry') {
      // It has said itself when it wants to be asked again.
      if (found.outcome.after !== undefined) return found;
      // It was there a moment ago; whether MLflow is well enough for traces, the traces will tell.
      known.until = performance.now() + recheckMs;
      return { ok: true, id: known.id };
    }
    known = undefined;
    return found;
  }

  /**
   * The id is needed for nothing here, so only what MLflow says for certain stops traces: the rest of its REST
   * API may be closed to this account, or to this network.
   */
  async function checkId(id: string, call: RestCall, account: string): Promise<Resolved> {
    const url = endpoint('get', { experiment_id: id });
    const read = readExperiment(await call('GET', url), askedOf(url, account));
    if (read.kind === 'found') return checkAlive(read, url);
    if (read.kind !== 'failed') {
      return blocked(
        `${read.reason}: ${experimentWords(choice)} does not exist there; configure one that does`,
      );
    }
    return read.outcome.kind === 'blocked' ? { ok: true, id } : { ok: false, outcome: read.outcome };
  }

  async function findOrCreate(name: string, call: RestCall, account: string): Promise<Resolved> {
    const first = await find(name, call, account);
    if (first !== 'missing') return first;

    const url = endpoint('create', {});
    const read = readExperiment(await call('POST', url, { name }), askedOf(url, account));
    switch (read.kind) {
      case 'found':
        log.info({ experimentId: read.id, experiment: name }, 'created the experiment in MLflow');
        return { ok: true, id: read.id };
      case 'exists': {
        // Somebody else was quicker, such as another replica.
        const second = await find(name, call, account);
        if (second !== 'missing') return second;
        break;
      }
      case 'failed':
        return { ok: false, outcome: read.outcome };
      default:
    }
    return blocked(`${read.reason}: ${experimentWords(choice)} cannot be created`);
  }

  async function find(name: string, call: RestCall, account: string): Promise<Resolved | 'missing'> {
    const url = endpoint('get-by-name', { experiment_name: name });
    const read = readExperiment(await call('GET', url), askedOf(url, account));
    switch (read.kind) {
      case 'found':
        return checkAlive(read, url);
      case 'missing':
        return 'missing';
      case 'failed':
        return { ok: false, outcome: read.outcome };
      default:
        return blocked(`${read.reason}: ${experimentWords(choice)} cannot be looked up`);
    }
  }

  function checkAlive(found: { id: string; stage: string }, url: URL): Resolved {
    return found.stage === 'deleted'
      ? blocked(
          `${experimentWords(choice)} is deleted in MLflow at ${url.origin}, which would answer 200 and hide the traces: restore it, or configure another`,
        )
      : { ok: true, id: found.id };
  }

  function askedOf(url: URL, account: string): Asked {
    return { url, experiment: experimentWords(choice), account, now: Date.now() };
  }

  function endpoint(name: string, query: Record<string, string>): URL {
    const url = new URL(`api/2.0/mlflow/experiments/${name}`, base);
    url.search = new URLSearchParams(query).toString();
    return url;
  }

  return {
    resolve,
    forget() {
      known = undefined;
    },
  };
}

type Read =
  | { readonly kind: 'found'; readonly id: string; readonly stage: string }
  | { readonly kind: 'missing' | 'exists' | 'invalid'; readonly reason: string }
  | { readonly kind: 'failed'; readonly outcome: SendOutcome };

function readExperiment(result: HttpResult, asked: Asked): Read {
  const read = readAnswer(result, asked);
  return read.kind === 'failed' ? { ...read, outcome: withDoubt(read.outcome, result) } : read;
}

/** The table of answers of the three endpoints. Pure. */
function readAnswer(result: HttpResult, asked: Asked): Read {
  if (result.kind !== 'answer') return { kind: 'failed', outcome: withoutAnswer(result) };
  const error = readMlflowError(result);
  const reason = sentence(result, asked);
  if (error?.code === 'RESOURCE_ALREADY_EXISTS') return { kind: 'exists', reason };
  if (error?.code === 'RESOURCE_DOES_NOT_EXIST') return { kind: 'missing', reason };
  if (error?.code === 'INVALID_PARAMETER_VALUE') return { kind: 'invalid', reason };
  const shared = readSharedAnswer(result, asked);
  if (shared !== undefined) return { kind: 'failed', outcome: shared };
  if (result.status === 403) {
    const permission = `${asked.account} needs EDIT on ${asked.experiment}, or the right to create it`;
    return failed(`${reason}: ${forbiddenByProxy(result) ?? permission}`);
  }
  if (result.status === 200) {
    const json = readJsonObject(result);
    // `create` answers the id alone.
    const experiment = json?.['experiment'] ?? json;
    if (isExperiment(experiment)) {
      return { kind: 'found', id: experiment.experiment_id, stage: experiment.lifecycle_stage ?? 'active' };
    }
  }
  if (result.status >= 500 || (error !== undefined && isPassing(error))) {
    return { kind: 'failed', outcome: { kind: 'retry', reason } };
  }
  return failed(`${reason}, which is no answer of MLflow's REST API: check url`);
}

function isExperiment(value: unknown): value is { experiment_id: string; lifecycle_stage?: string } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'experiment_id' in value &&
    typeof value.experiment_id === 'string' &&
    (!('lifecycle_stage' in value) || typeof value.lifecycle_stage === 'string')
  );
}

function blocked(reason: string): Resolved {
  return { ok: false, outcome: { kind: 'blocked', reason } };
}

function failed(reason: string): { kind: 'failed'; outcome: SendOutcome } {
  return { kind: 'failed', outcome: { kind: 'blocked', reason } };
}
