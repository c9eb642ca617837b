import type { TokenSource } from '../auth/token-source.ts';
import type { ExperimentChoice } from '../destinations/experiment-words.ts';
import { experimentWords } from '../destinations/experiment-words.ts';
import type { HttpAnswer, HttpClient, HttpResult } from '../destinations/http-client.ts';
import { readMlflowError, readJsonObject } from '../destinations/mlflow-error.ts';
import { sentence } from '../destinations/mlflow-answers.ts';
import { giveUp, withTrailingSlash } from '../destinations/mlflow.ts';
import { oauth2ProxyRemedy } from '../destinations/oauth2-proxy.ts';
import { accountWords, refusalWords } from '../destinations/token-words.ts';
import { isNestedDeeper } from '../bounded-json.ts';
import { messageOf } from '../errors.ts';
import { bareUrl } from '../network-words.ts';
import { parseExactly } from './exact-json.ts';
import { readStoredTrace } from './stored-trace.ts';
import type { StoredTrace } from './stored-trace.ts';

export type Read =
  | { readonly kind: 'trace'; readonly trace: StoredTrace }
  /** MLflow does not have the trace, or the experiment, or not yet. */
  | { readonly kind: 'absent'; readonly reason: string }
  /** MLflow or the issuer did not answer, or have no answer now. */
  | { readonly kind: 'away'; readonly reason: string }
  /** A person has to act before anything can be read. */
  | { readonly kind: 'denied'; readonly reason: string };

type Unread = Exclude<Read, { kind: 'trace' }>;

export type MlflowReader = {
  /** Never rejects for what the network or MLflow does. @param traceId in hex */
  read(traceId: string, timeoutMs: number): Promise<Read>;
  /** Of the experiment that is read; undefined until it was found. */
  experimentId(): string | undefined;
};

export type ReaderOptions = {
  readonly url: URL;
  readonly experiment: ExperimentChoice;
  readonly workspace: string | undefined;
};

/** The JSON of a trace is parsed up to so many levels, far more than any has; each costs up to a hundred times its byte. */
const DEEPEST_TRACE = 1_000;

const NOT_THERE =
  "MLflow does not have it: see the relay's /status, and `mlflow-trace-relay dead-letters list`";

/**
 * Reads traces of an experiment by MLflow's REST API (`GET /api/3.0/mlflow/traces/get`, MLflow 3.10 to 3.18).
 * mlflow-oidc-auth answers 403 to a trace that is not there, so that it is the experiment which tells who may read.
 * @param signal ends requests under way
 */
export function createMlflowReader(
  options: ReaderOptions,
  deps: { http: HttpClient; tokens: TokenSource | undefined },
  signal: AbortSignal,
): MlflowReader {
  const { experiment, workspace } = options;
  const { http, tokens } = deps;
  const base = withTrailingSlash(options.url);
  let experimentId: string | undefined;
  let account = accountWords(undefined);

  async function get(
    path: string,
    query: Record<string, string>,
    timeoutMs: number,
  ): Promise<HttpAnswer | Unread> {
    const url = new URL(path, base);
    url.search = new URLSearchParams(query).toString();
    const token = await tokens?.token();
    if (token?.kind === 'unavailable') return { kind: 'away', reason: token.reason };
    if (token?.kind === 'rejected') return { kind: 'denied', reason: token.reason };
    account = accountWords(token?.claims);
    const result: HttpResult = await http.ask(
      {
        method: 'GET',
        url,
        timeoutMs,
        headers: {
          accept: 'application/json',
          ...(token && { authorization: `Bearer ${token.value}` }),
          ...(workspace !== undefined && { 'x-mlflow-workspace': workspace }),
        },
      },
      signal,
    );
    if (result.kind !== 'answer') return { kind: 'away', reason: result.reason };
    if (result.status === 401) {
      if (token !== undefined && giveUp(tokens, token, result.date) === 'postponed') {
        return { kind: 'away', reason: "MLflow's clock is behind that of the issuer: set the clocks" };
      }
      const words =
        token === undefined
          ? 'set auth of the destination'
          : (oauth2ProxyRemedy(result) ?? refusalWords(token.claims));
      return { kind: 'denied', reason: `${wordsOf(result, url)}: the access token is not taken: ${words}` };
    }
    if (result.status >= 300 && result.status < 400) {
      return { kind: 'denied', reason: `${bareUrl(url)} redirects (${result.status}): is it a login page?` };
    }
    return result;
  }

  function wordsOf(answer: HttpAnswer, url: URL): string {
    return sentence(answer, { url, experiment: experimentWords(experiment), account, now: 0 });
  }

  /** @returns undefined when it was found */
  async function findExperiment(timeoutMs: number): Promise<Unread | undefined> {
    if (experimentId !== undefined) return undefined;
    const [name, query]: [string, Record<string, string>] =
      'id' in experiment
        ? ['get', { experiment_id: experiment.id }]
        : ['get-by-name', { experiment_name: experiment.name }];
    const path = `api/2.0/mlflow/experiments/${name}`;
    const answer = await get(path, query, timeoutMs);
    if (answer.kind !== 'answer') return answer;
    const said = wordsOf(answer, new URL(path, base));
    if (answer.status === 403) {
      return { kind: 'denied', reason: `${said}: ${account} needs READ on ${experimentWords(experiment)}` };
    }
    if (answer.status === 200) {
      const found = readJsonObject(answer)?.['experiment'] as { experiment_id?: unknown } | undefined;
      if (typeof found?.experiment_id === 'string') {
        experimentId = found.experiment_id;
        return undefined;
      }
      return { kind: 'denied', reason: `${said}, which is no answer of MLflow's REST API: check url` };
    }
    const { code } = readMlflowError(answer) ?? {};
    return code === 'RESOURCE_DOES_NOT_EXIST'
      ? { kind: 'absent', reason: `${experimentWords(experiment)} does not exist in MLflow` }
      : { kind: 'away', reason: said };
  }

  async function read(traceId: string, timeoutMs: number): Promise<Read> {
    const problem = await findExperiment(timeoutMs);
    if (problem !== undefined) return problem;
    const path = 'api/3.0/mlflow/traces/get';
    const answer = await get(path, { trace_id: `tr-${traceId}` }, timeoutMs);
    if (answer.kind !== 'answer') return answer;
    if (answer.status === 404 || answer.status === 403) return { kind: 'absent', reason: NOT_THERE };
    if (answer.status !== 200) return { kind: 'away', reason: wordsOf(answer, new URL(path, base)) };
    try {
      if (isNestedDeeper(answer.body, DEEPEST_TRACE)) {
        throw new Error(`it is nested more than ${DEEPEST_TRACE} levels deep`);
      }
      return { kind: 'trace', trace: readStoredTrace(traceId, parseExactly(answer.body.toString('utf8'))) };
    } catch (error) {
      return {
        kind: 'away',
        reason: `${bareUrl(new URL(path, base))} answers 200 with what is no trace (${messageOf(error)})`,
      };
    }
  }

  return {
    read,
    experimentId: () => experimentId,
  };
}
