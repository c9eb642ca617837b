import { setTimeout } from 'node:timers/promises';
import type { HttpAnswer } from '../destinations/http-client.ts';
import { readTracesAnswer, sentence } from '../destinations/mlflow-answers.ts';
import { readJsonObject, readMlflowError } from '../destinations/mlflow-error.ts';
import { oauth2ProxyRemedy } from '../destinations/oauth2-proxy.ts';
import type { MlflowVersion, Pair } from '../destinations/one-mlflow.ts';
import { refusalWords } from '../destinations/token-words.ts';
import { bareUrl, quote } from '../network-words.ts';
import { failed, ok, skipped, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';
import { NOTABLE_MS, SET_CLOCKS, earlyBy } from './clocks.ts';
import type { Granted } from './issuer.ts';
import { askedOf, get, sendNothing, withoutToken } from './upstream.ts';
import type { Answered, Upstream } from './upstream.ts';
import { wayFix } from './way.ts';

/* MLflow as it answers, with nothing sent that it would store. */

/** The first with an OTLP route. */
const OLDEST = [3, 6] as const;

/** An experiment that every MLflow has: who may not write it is told so by the same route. */
const ANY_EXPERIMENT = '0';

const LOGIN_FIX =
  'let requests with a bearer token through to MLflow (oauth2-proxy: --skip-jwt-bearer-tokens with the issuer), or give url an address behind the login';

/**
 * Whether anything answers, by MLflow's path for its health.
 * @param lacksToken that there should be: what is before MLflow may send those without one to its login
 */
export async function checkConnection(upstream: Upstream, lacksToken: boolean): Promise<Verdict<Answered>> {
  const answered = await get(upstream, 'health');
  const { result, url } = answered;
  if (result.kind === 'no answer') return failed(result.reason, wayFix(result.reason, url, upstream.keys));
  if (result.kind === 'answer' && isRedirect(result)) {
    const words = redirectWords(result, url);
    return lacksToken
      ? skipped(`${words}; with a token it may not`)
      : failed(words, redirectFix(result, url, upstream.keys.url));
  }
  return ok(`${url.host} answers`, answered);
}

export async function checkHealth(upstream: Upstream, answered: Answered): Promise<Verdict<undefined>> {
  const { result, url } = answered;
  const fix = `give ${upstream.keys.url} the address at which MLflow itself answers, with the path below which it is served`;
  if (result.kind !== 'answer') return failed(result.reason, fix);
  // Flask calls it HTML.
  if (result.status === 200 && result.body.toString('utf8').trim() === 'OK') return ok('MLflow is well');
  const words = sentence(result, askedOf(upstream, url));
  if (result.status >= 500) return failed(words, "see MLflow's log, and that of what stands before it");
  if (isHtml(result) && result.status < 400) return failed(`${words}: that is not MLflow`, LOGIN_FIX);
  if (result.status !== 200) return warning(`${words}, where MLflow says whether it is well`, fix);
  if (readJsonObject(result) === undefined) {
    return warning(`${words}, where MLflow answers OK`, fix);
  }
  // mlflow-oidc-auth has an object in its place, and knows more.
  const ready = (await get(upstream, 'health/ready')).result;
  const checks = ready.kind === 'answer' ? readJsonObject(ready)?.['checks'] : undefined;
  const wrong = Object.entries(checks ?? {}).filter(([, isWell]) => isWell === false);
  return wrong.length === 0
    ? ok('MLflow is well, with mlflow-oidc-auth before it')
    : failed(
        `mlflow-oidc-auth is not ready: ${wrong.map(([name]) => quote(name)).join(', ')}`,
        "correct OIDC_DISCOVERY_URL (oidc), or OIDC_USERS_DB_URI and that database (database), where MLflow runs; see MLflow's log",
      );
}

export async function checkVersion(upstream: Upstream): Promise<Verdict<MlflowVersion>> {
  const { result, url } = await get(upstream, 'version');
  const text = result.kind === 'answer' && result.status === 200 ? result.body.toString('utf8').trim() : '';
  const [, ...numbers] = /^(\d+)\.(\d+)(\.\w+)*$/.exec(text) ?? [];
  const [major, minor] = numbers.map(Number);
  if (major === undefined || minor === undefined) return skipped(`${bareUrl(url)} does not tell it`);
  const isOld = major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]);
  return isOld
    ? failed(`MLflow is ${text}, which takes no OTLP traces`, `upgrade it to ${OLDEST.join('.')} or newer`)
    : ok(`MLflow ${text}`, { major, minor });
}

/** Two destinations that name this MLflow, whose version may not be known. */
export function checkPair({ words, fix }: Pair, version: MlflowVersion | undefined): Verdict<undefined> {
  return warning(words(version), fix);
}

/** Which kind of store it has; which database, it does not tell. */
export async function checkStore(upstream: Upstream): Promise<Verdict<undefined>> {
  const { result, url } = await get(upstream, 'api/3.0/mlflow/server-info');
  const info = result.kind === 'answer' && result.status === 200 ? readJsonObject(result) : undefined;
  const store = info?.['store_type'];
  if (store === 'FileStore') {
    return failed(
      'MLflow keeps what it has in files, and takes traces only into a database',
      'start it with --backend-store-uri, the address of a database; see mlflow migrate-filestore for what is there',
    );
  }
  return store === 'SqlStore'
    ? ok('MLflow has a database; it does not tell which')
    : skipped(`${bareUrl(url)} does not tell it`);
}

/** Whether others than the relay have to show who they are. */
export async function checkOpenness(upstream: Upstream, isAuthSet: boolean): Promise<Verdict<undefined>> {
  const { result, url } = await sendNothing(withoutToken(upstream), ANY_EXPERIMENT);
  if (result.kind !== 'answer') return failed(result.reason, wayFix(result.reason, url, upstream.keys));
  const outcome = readTracesAnswer(result, askedOf(upstream, url));
  const asksWho = outcome.kind === 'unauthorized' || isRedirect(result) || isHtml(result);
  if (isAuthSet) {
    if (outcome.kind === 'delivered') {
      return warning(
        `${bareUrl(url)} takes traces without a token: whoever reaches it can write them`,
        'take /v1/traces out of the paths that MLflow, or a proxy before it, leaves open; mlflow-oidc-auth 7.12.2 and newer needs no such exception',
      );
    }
    return asksWho || result.status === 403
      ? ok(`are refused (${result.status})`)
      : skipped(`cannot be told by the answer: ${result.status}`);
  }
  return asksWho
    ? failed(
        `${sentence(result, askedOf(upstream, url))}: it wants to know who asks, and auth is none`,
        'set auth of this destination to kind: client_credentials, with issuer, client_id and client_secret_file',
      )
    : ok('are what this destination is configured for (auth none)');
}

/** Whether traces with a token get as far as MLflow's route for them. */
export async function checkRoute(upstream: Upstream): Promise<Verdict<Answered>> {
  const { keys } = upstream;
  const answered = await routeAnswer(upstream);
  const { result, url } = answered;
  if (result.kind === 'no answer') return failed(result.reason, wayFix(result.reason, url, keys));
  if (result.kind !== 'answer') return failed(result.reason, LOGIN_FIX);
  const outcome = readTracesAnswer(result, askedOf(upstream, url));
  const error = readMlflowError(result);
  const isThere =
    outcome.kind === 'delivered' ||
    outcome.kind === 'unauthorized' ||
    (result.status === 403 && !isHtml(result)) ||
    ((result.status === 400 || result.status === 422) && error !== undefined) ||
    error?.code === 'RESOURCE_DOES_NOT_EXIST';
  if (isThere) return ok(`${bareUrl(url)} is there`, answered);

  const words = outcome.reason;
  if (isRedirect(result)) return failed(words, redirectFix(result, url, keys.url));
  if (isHtml(result) && result.status < 404) return failed(words, LOGIN_FIX);
  switch (result.status) {
    case 404:
    case 405:
      return failed(
        words,
        `give ${keys.url} the address below which MLflow answers, and see that it is MLflow ${OLDEST.join('.')} or newer, run by uvicorn`,
      );
    case 501:
      return failed(words, 'start MLflow with --backend-store-uri, the address of a database');
    default:
      return failed(words, "see MLflow's log, and that of what stands before it");
  }
}

/**
 * Whether the token is one that MLflow takes; one that by its clock is some seconds too young is given the time, as the
 * relay does.
 */
export async function checkToken(
  upstream: Upstream,
  first: Answered,
  { claims, issuedAt }: Granted,
): Promise<Verdict<undefined>> {
  const early = (isRefused(first) && issuedAt && first.clock && earlyBy(issuedAt, first.clock)) || 0;
  const waits = early > 0 && early < NOTABLE_MS;
  if (waits) await setTimeout(early + 1_000);
  const answered = waits ? await routeAnswer(upstream) : first;
  const { result, url } = answered;
  if (result.kind !== 'answer') return failed(result.reason, wayFix(result.reason, url, upstream.keys));
  if (!isRefused(answered)) return ok(`MLflow takes it, from ${upstream.account}`);

  const words = sentence(result, askedOf(upstream, url));
  if (early >= NOTABLE_MS) {
    return failed(
      `${words}: by MLflow's clock the token was issued in the future`,
      `${SET_CLOCKS}. If that is right: ${refusalWords(claims)}`,
    );
  }
  // mlflow/server/auth: its own user names and passwords.
  return result.body.toString('utf8').startsWith('You are not authenticated. Please see')
    ? failed(
        `${words}: this MLflow has its own users (--app-name basic-auth), and takes no access tokens`,
        'start it with --app-name oidc-auth (mlflow-oidc-auth)',
      )
    : failed(`${words}: MLflow does not take the token`, oauth2ProxyRemedy(result) ?? refusalWords(claims));
}

function isRefused({ result }: Answered): boolean {
  return result.kind === 'answer' && result.status === 401;
}

function routeAnswer(upstream: Upstream): Promise<Answered> {
  const { experiment } = upstream;
  return sendNothing(upstream, 'id' in experiment ? experiment.id : ANY_EXPERIMENT);
}

function isRedirect({ status }: HttpAnswer): boolean {
  return status >= 300 && status < 400;
}

function redirectWords({ status, location }: HttpAnswer, url: URL): string {
  const to = targetOf(location, url);
  return `${bareUrl(url)} redirects${to === undefined ? '' : ` to ${bareUrl(to)}`} (${status}), which the relay does not follow`;
}

function redirectFix({ location }: HttpAnswer, url: URL, key: string): string {
  const to = targetOf(location, url);
  const isSamePlace =
    to !== undefined && to.pathname.endsWith(url.pathname.replace(/^.*?\/(?=health$|v1\/traces$)/, '/'));
  if (!isSamePlace) return LOGIN_FIX;
  return `set ${key} to ${bareUrl(to).replace(/\/(health|v1\/traces)$/, '')}`;
}

function targetOf(location: string | undefined, url: URL): URL | undefined {
  return location !== undefined && URL.canParse(location, url.href) ? new URL(location, url) : undefined;
}

function isHtml({ contentType, body }: HttpAnswer): boolean {
  return (
    /^text\/html\b/i.test(contentType ?? '') ||
    /^\s*<(!doctype html|html)\b/i.test(body.toString('latin1', 0, 64))
  );
}
