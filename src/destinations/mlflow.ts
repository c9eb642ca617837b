import { readFileSync } from 'node:fs';
import { bareUrl } from '../network-words.ts';
import type { TokenClaims, TokenResult, TokenSource } from '../auth/token-source.ts';
import type { Logger } from '../telemetry/logger.ts';
import { compress } from './compress.ts';
import type { Destination, ResolvedTarget, SendOutcome } from './destination.ts';
import { createExperimentResolver } from './experiment.ts';
import { experimentWords } from './experiment-words.ts';
import type { RestCall } from './experiment.ts';
import type { ExperimentChoice } from './experiment-words.ts';
import { createHttpClient } from './http-client.ts';
import type { HttpRequest, HttpResult, TlsFiles } from './http-client.ts';
import { readTracesAnswer } from './mlflow-answers.ts';
import { repairForMlflow } from './mlflow-repair.ts';
import { accountWords, refusalWords } from './token-words.ts';

/**
 * After this many refusals in a row, each of a token fetched after the one before, another token is no remedy. Fewer
 * where the answer may be about something else.
 */
const REFUSALS_TO_BLOCK = { certain: 3, doubtful: 2 };

/** An ExportTraceServiceRequest with one empty ResourceSpans: MLflow answers 200, where it would store, and stores nothing. */
export const NOTHING = [Uint8Array.of(0x0a, 0x00)];
/** Who takes longer to say nothing is not back yet; in a backlog's way for no longer than this. */
const PROBE_TIMEOUT_MS = 2_000;

/** Clocks that are further apart than this are not told by a token that is refused. */
const MOST_EARLY_MS = 600_000;

type Token = Extract<TokenResult, { kind: 'token' }>;

export type MlflowOptions = {
  readonly name: string;
  /** A base path is kept. */
  readonly url: URL;
  readonly experiment: ExperimentChoice;
  readonly workspace: string | undefined;
  readonly tls: TlsFiles;
  /** For each request, whole. */
  readonly timeoutMs: number;
  /** Bytes of an answer. */
  readonly maxResponseSize: number;
  /** Whether spans that were refused are mended where it is known how. */
  readonly repair: boolean;
};

/**
 * MLflow's OTLP endpoint, `POST /v1/traces` (MLflow 3.18, server/otel_api.py), alone or with a plugin such as
 * mlflow-oidc-auth. Without `tokens`, nothing is sent that says who the relay is, but its client certificate.
 * @throws RelayError CERTIFICATE_INVALID
 */
export function createMlflowDestination(
  options: MlflowOptions,
  deps: { tokens: TokenSource | undefined; log: Logger },
): Destination {
  const { tokens } = deps;
  const log = deps.log.child({ destination: options.name });
  const base = withTrailingSlash(options.url);
  const tracesUrl = new URL('v1/traces', base);
  const http = createHttpClient(options, log);
  const experiment = createExperimentResolver(options.experiment, base, log);
  const experimentName = experimentWords(options.experiment);
  const target: ResolvedTarget = {
    key: JSON.stringify([base.href, options.workspace, options.experiment]),
    description: `${experimentName}${options.workspace === undefined ? '' : ` in workspace "${options.workspace}"`} at ${bareUrl(options.url)}`,
  };
  const headers = {
    'user-agent': userAgent(),
    ...(options.workspace === undefined ? {} : { 'x-mlflow-workspace': options.workspace }),
  };

  let refusals = 0;

  /** With the token; sees to it that a token which is not taken is not used again. */
  async function ask(
    token: Token | undefined,
    request: HttpRequest,
    signal: AbortSignal,
  ): Promise<HttpResult> {
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token.value}` };
    const refusalsBefore = refusals;
    const result = await http.ask(
      { ...request, headers: { ...headers, ...authorization, ...request.headers } },
      signal,
    );
    if (result.kind !== 'answer' || result.status !== 401 || token === undefined) return result;
    if (giveUp(tokens, token, result.date) === 'dropped') countRefusal(refusalsBefore);
    return result;
  }

  /** Requests that were under way together meet the same refusal: it counts once. */
  function countRefusal(refusalsBefore: number): void {
    if (refusals === refusalsBefore) refusals += 1;
  }

  async function send(
    _target: ResolvedTarget,
    parts: readonly Uint8Array[],
    signal: AbortSignal,
    timeoutMs = options.timeoutMs,
  ): Promise<SendOutcome> {
    const token = await tokens?.token();
    if (token?.kind === 'unavailable') return { kind: 'retry', reason: token.reason };
    if (token?.kind === 'rejected') return { kind: 'blocked', reason: token.reason };
    const refusalsBefore = refusals;
    const outcome = await sendWith(token, parts, signal, timeoutMs);
    if (outcome.kind === 'unauthorized') return withTokenWords(outcome, token?.claims);
    if (outcome.kind === 'blocked' && outcome.doubtsToken === true)
      return doubted(outcome.reason, token, refusalsBefore);
    // What is away for now has said nothing of the token.
    if (outcome.kind !== 'retry') refusals = 0;
    return outcome;
  }

  async function sendWith(
    token: Token | undefined,
    parts: readonly Uint8Array[],
    signal: AbortSignal,
    timeoutMs: number,
  ): Promise<SendOutcome> {
    const call: RestCall = (method, url, body) =>
      ask(
        token,
        {
          method,
          url,
          headers: {
            accept: 'application/json',
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          },
          ...(body === undefined ? {} : { body: Buffer.from(JSON.stringify(body)) }),
          timeoutMs,
        },
        signal,
      );
    const account = accountWords(token?.claims);
    const resolved = await experiment.resolve(call, account);
    if (!resolved.ok) return resolved.outcome;

    const { body, encoding } = await compress(parts);
    const result = await ask(
      token,
      {
        method: 'POST',
        url: tracesUrl,
        headers: {
          // Anything with text/html in it makes mlflow-oidc-auth redirect to its login.
          accept: 'application/x-protobuf',
          'content-type': 'application/x-protobuf',
          'x-mlflow-experiment-id': resolved.id,
          ...encoding,
        },
        body,
        timeoutMs,
      },
      signal,
    );
    const asked = { url: tracesUrl, experiment: experimentName, account, now: Date.now() };
    const outcome = readTracesAnswer(result, asked);
    const isLost = result.kind === 'answer' && (result.status === 403 || result.status === 404);
    // A 404 may be about a trace.
    if (isLost && outcome.kind === 'blocked') experiment.forget();
    return outcome;
  }

  /** A fresh token is tried; if the answer is the same to that one, it is what it looks like. */
  function doubted(reason: string, token: Token | undefined, refusalsBefore: number): SendOutcome {
    if (tokens === undefined || token === undefined) return { kind: 'blocked', reason };
    tokens.doubt(token.value);
    countRefusal(refusalsBefore);
    return { kind: refusals < REFUSALS_TO_BLOCK.doubtful ? 'unauthorized' : 'blocked', reason };
  }

  /** A 401 is healed by a fresh token, unless there are none, or they are refused as well. */
  function withTokenWords(
    outcome: Extract<SendOutcome, { kind: 'unauthorized' }>,
    claims: TokenClaims | undefined,
  ): SendOutcome {
    if (tokens === undefined) {
      return {
        kind: 'blocked',
        reason: `${outcome.reason}; none is configured: set auth of ${options.name}`,
      };
    }
    const words = outcome.remedy ?? refusalWords(claims);
    return refusals < REFUSALS_TO_BLOCK.certain
      ? { kind: 'unauthorized', reason: `${outcome.reason}: ${words}` }
      : { kind: 'blocked', reason: `${outcome.reason}, nor were the ${refusals - 1} before it: ${words}` };
  }

  return {
    name: options.name,
    targetOf: () => target,
    send: (to, parts, signal) => send(to, parts, signal),
    probe: (to, signal) => send(to, NOTHING, signal, PROBE_TIMEOUT_MS),
    ...(options.repair && { repair: repairForMlflow }),
    close: () => http.close(),
  };
}

/**
 * After a 401: the token is not used again, or, if its time has not come for the upstream, only then.
 * @param date of the answer, by the upstream's clock
 */
export function giveUp(
  tokens: TokenSource | undefined,
  token: Token,
  date: string | undefined,
): 'postponed' | 'dropped' {
  const early = earlyBy(token, date);
  if (early > 0) tokens?.postpone(token.value, early);
  else tokens?.drop(token.value);
  return early > 0 ? 'postponed' : 'dropped';
}

/**
 * How long a token that was refused has to wait, in ms: mlflow-oidc-auth gives no leeway, and takes none that was issued
 * in its future. 0 where that is not the reason, or the clocks make no sense.
 * @param date of the answer, by the upstream's clock
 */
function earlyBy({ claims }: Token, date: string | undefined): number {
  const early = (claims?.validFrom ?? Number.NaN) * 1000 - Date.parse(date ?? '');
  return early > 0 && early <= MOST_EARLY_MS ? early : 0;
}

export function withTrailingSlash(url: URL): URL {
  const base = new URL(url);
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  return base;
}

function userAgent(): string {
  const file = new URL('../../package.json', import.meta.url);
  const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as { name: string; version: string };
  return `${name}/${version}`;
}
