import { MASKED } from '../masking/secret-mask.ts';
import { bareUrl, quote, quoteBytes } from '../network-words.ts';
import { readExportResponse } from '../otlp/response.ts';
import type { SendOutcome } from './destination.ts';
import type { HttpAnswer, HttpResult } from './http-client.ts';
import {
  unstorableOf,
  isAboutSpans,
  isAboutStore,
  isAboutTarget,
  isAboutValue,
  isPassing,
  jsonProblem,
  readMlflowError,
} from './mlflow-error.ts';
import type { MlflowError } from './mlflow-error.ts';
import { readTraceRefusal } from './mlflow-traces.ts';
import { oauth2ProxyRemedy } from './oauth2-proxy.ts';

/* The table of answers to POST /v1/traces, as MLflow 3.18 and what stands before it give them. Pure. */

/** A `Retry-After` beyond this is taken for this. */
export const LONGEST_RETRY_AFTER_MS = 5 * 60_000;

export type Asked = {
  readonly url: URL;
  /** As people know it, such as `experiment 1`. */
  readonly experiment: string;
  /** Who asks, as people know it, such as `the service account otel-relay`. */
  readonly account: string;
  /** Milliseconds since the epoch, for a `Retry-After` that is a date. */
  readonly now: number;
};

/** Redirects to a login. The others tell of another address for good (RFC 9110 section 15.4). */
const TO_ELSEWHERE: ReadonlySet<number> = new Set([302, 303, 307]);

/** What became of a request with traces. */
export function readTracesAnswer(result: HttpResult, asked: Asked): SendOutcome {
  return withDoubt(readTraces(result, asked), result);
}

/**
 * 401 is not the only answer to a token that is not taken: what stands before MLflow sends such a request to its login,
 * shows that in MLflow's place, or forbids it, as oauth2-proxy and Envoy do. Nor do permissions that come of a token
 * stay as they are.
 */
export function withDoubt(outcome: SendOutcome, result: HttpResult): SendOutcome {
  return outcome.kind === 'blocked' && mayMeanToken(result) ? { ...outcome, doubtsToken: true } : outcome;
}

function mayMeanToken(result: HttpResult): boolean {
  if (result.kind === 'no answer') return false;
  const { status } = result;
  if (status >= 200 && status < 300)
    return result.kind === 'too large' || isHtml(result.contentType, result.body);
  return status === 403 || TO_ELSEWHERE.has(status);
}

function readTraces(result: HttpResult, asked: Asked): SendOutcome {
  if (result.kind !== 'answer') return tooSlow(withoutAnswer(result), 'tooSlow' in result);
  const { status } = result;
  if (status >= 200 && status < 300) return readSuccess(result, asked);
  const error = readMlflowError(result);
  if (error !== undefined && isAboutValue(error)) {
    return { kind: 'refused', reason: sentence(result, asked), status, doubtful: true };
  }
  const shared = readSharedAnswer(result, asked);
  // What is before MLflow has waited in the relay's place.
  if (shared !== undefined) return tooSlow(shared, status === 408 || status === 504);

  const aboutTraces = readTraceRefusal(result);
  if (aboutTraces !== undefined) {
    const { traces, advice } = aboutTraces;
    return { kind: 'refused', reason: `${sentence(result, asked)}: ${advice}`, status, traces };
  }
  switch (status) {
    case 403:
      return blocked(`${sentence(result, asked)}: ${forbiddenByProxy(result) ?? permissionWords(asked)}`);
    case 404:
    case 405:
      return blocked(
        error?.code === 'RESOURCE_DOES_NOT_EXIST'
          ? `${sentence(result, asked)}: configure an experiment that exists`
          : `${sentence(result, asked)}: check the path of url, and that MLflow is 3.6 or newer with a server that takes OTLP (uvicorn)`,
      );
    case 413:
      // The word of a proxy about its own limit, which people can change; less at once may pass.
      return {
        kind: 'refused',
        reason: `${sentence(result, asked)}: raise the limit there (nginx: client_max_body_size), or lower delivery.max_batch_size`,
        status,
      };
    case 501:
      return blocked(`${sentence(result, asked)}: MLflow needs a store in a database (--backend-store-uri)`);
    case 400:
    case 422:
    case 500:
      return error === undefined ? byProxy(result, asked) : byMlflow(error, result, asked);
    default:
      return blocked(`${sentence(result, asked)}, which is no answer to traces`);
  }
}

/** Rows that are the same for each of MLflow's endpoints; undefined: the endpoint has its own. */
export function readSharedAnswer(answer: HttpAnswer, asked: Asked): SendOutcome | undefined {
  const { status, location } = answer;
  if (status >= 300 && status < 400) {
    const to =
      location !== undefined && URL.canParse(location, asked.url.href)
        ? new URL(location, asked.url)
        : undefined;
    return blocked(
      `${bareUrl(asked.url)} redirects${to === undefined ? '' : ` to ${bareUrl(to)}`} (${status}): ${oauth2ProxyRemedy(answer) ?? 'is it a login page? Configure an address that takes bearer tokens, or the final one'}`,
    );
  }
  // 409 and 499 are MLflow's ABORTED, RESOURCE_CONFLICT and CANCELLED.
  switch (status) {
    case 401: {
      const remedy = oauth2ProxyRemedy(answer);
      return {
        kind: 'unauthorized',
        reason: `${sentence(answer, asked)}: the access token is not taken`,
        ...(remedy === undefined ? {} : { remedy }),
      };
    }
    case 408:
    case 409:
    case 425:
    case 429:
    case 499:
    case 502:
    case 503:
    case 504: {
      const after = retryAfterMs(answer.retryAfter, asked.now);
      return { kind: 'retry', reason: sentence(answer, asked), ...(after === undefined ? {} : { after }) };
    }
    default:
      return undefined;
  }
}

/** What became of a request whose answer could not be read. */
export function withoutAnswer(result: Exclude<HttpResult, HttpAnswer>): SendOutcome {
  // A success of OTLP is some bytes; what is that long is a page, and will be one the next time.
  return result.kind === 'too large' && result.status >= 200 && result.status < 300
    ? blocked(`${result.reason}: it is not MLflow that answers there, or max_response_size is too low`)
    : { kind: 'retry', reason: result.reason };
}

/** Where and what, in one clause. Pages of HTML are named, not quoted. */
export function sentence(answer: HttpAnswer, asked: Asked): string {
  const { status, contentType, body, isCut } = answer;
  const said =
    readMlflowError(answer)?.message ??
    jsonProblem(answer) ??
    (isHtml(contentType, body) ? 'a page of HTML' : quoteBytes(body));
  const more = isCut && `more than the ${body.length} bytes that are read of an error`;
  const words = [said, more].filter(Boolean).join('; ');
  return `${bareUrl(asked.url)} answers ${status}${words === '' ? '' : ` (${words})`}`;
}

/** OTLP: success is 200 with an ExportTraceServiceResponse; nothing else is. */
function readSuccess(answer: HttpAnswer, asked: Asked): SendOutcome {
  if (answer.status !== 200) {
    return blocked(`${bareUrl(asked.url)} answers ${answer.status}; a server that takes OTLP answers 200`);
  }
  const response = readExportResponse(answer.contentType, answer.body);
  if (!response.ok) {
    const what = isHtml(answer.contentType, answer.body)
      ? 'a page of HTML: is it a login page?'
      : quote(response.reason);
    return blocked(`${bareUrl(asked.url)} answers 200 without an OTLP response (${what}); check url`);
  }
  return {
    kind: 'delivered',
    rejectedSpans: response.rejectedSpans,
    ...(response.message === undefined ? {} : { message: quote(withShortMasks(response.message)) }),
  };
}

/** In protobuf a secret is masked by as many asterisks as it was long, and would hide what is said behind it. */
function withShortMasks(message: string): string {
  return message.replaceAll(/\*{16,}/g, MASKED);
}

function byMlflow(error: MlflowError, answer: HttpAnswer, asked: Asked): SendOutcome {
  const reason = sentence(answer, asked);
  const unstorable = unstorableOf(error);
  const refused = {
    kind: 'refused',
    reason,
    status: answer.status,
    ...(unstorable && { unstorable }),
  } as const;
  if (isAboutSpans(error)) return refused;
  if (isPassing(error)) return { kind: 'retry', reason };
  if (error.isAboutHeaders) return blocked(`${reason}: something on the way takes headers away`);
  if (/^(Invalid Content-Type|Unsupported Content-Encoding|Failed to decompress)/.test(error.message)) {
    return blocked(`${reason}: something on the way changes the request, or this MLflow is too old for gzip`);
  }
  if (isAboutTarget(error)) return blocked(`${reason}: check experiment and workspace`);
  if (isAboutStore(error)) {
    return blocked(`${reason}: MLflow's database does not take writes; check its rights and schema`);
  }
  return { ...refused, doubtful: true };
}

/** A page is the error of a proxy; what else is before MLflow may mean these bytes, as a firewall does. */
function byProxy(answer: HttpAnswer, asked: Asked): SendOutcome {
  const { status, contentType, body } = answer;
  const reason = `${sentence(answer, asked)}, which is not MLflow's own answer: look at what stands before MLflow`;
  if (!isHtml(contentType, body)) return { kind: 'refused', reason, status, doubtful: true };
  return status === 500 ? { kind: 'retry', reason } : blocked(reason);
}

/** mlflow-oidc-auth says the same where its header is missing, and gives nothing by which to tell. */
function permissionWords({ account, experiment }: Asked): string {
  return `${account} needs EDIT on ${experiment}, which must exist; if it has that, something on the way takes the header x-mlflow-experiment-id away`;
}

/** What to do about a 403 that MLflow did not give itself; undefined if it may have. */
export function forbiddenByProxy(answer: HttpAnswer): string | undefined {
  const remedy = oauth2ProxyRemedy(answer);
  if (remedy !== undefined) return remedy;
  return isHtml(answer.contentType, answer.body)
    ? 'a proxy or firewall before MLflow does not let the request through'
    : undefined;
}

function isHtml(contentType: string | undefined, body: Uint8Array): boolean {
  const start = Buffer.from(body.buffer, body.byteOffset, Math.min(body.byteLength, 64)).toString('latin1');
  return /^text\/html\b/i.test(contentType ?? '') || /^\s*<(!doctype html|html)\b/i.test(start);
}

/** RFC 9110 section 10.2.3: seconds, or a date. */
function retryAfterMs(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  const ms = /^\s*\d+\s*$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), LONGEST_RETRY_AFTER_MS);
}

function tooSlow(outcome: SendOutcome, isSlow: boolean): SendOutcome {
  return isSlow && outcome.kind === 'retry' ? { ...outcome, tooSlow: true } : outcome;
}

function blocked(reason: string): SendOutcome {
  return { kind: 'blocked', reason };
}
