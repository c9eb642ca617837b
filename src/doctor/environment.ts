import { quote } from '../network-words.ts';
import { failed, ok, skipped, warning } from './checkup.ts';
import type { Verdict } from './checkup.ts';

/* What the environment of this process says, which should be that of the relay. Pure. */

type Environment = Readonly<Record<string, string | undefined>>;

const PROXIES = new Set(['https_proxy', 'http_proxy', 'all_proxy']);

/** The relay connects directly, whatever these say; their values may hold passwords. */
export function checkProxies(env: Environment): Verdict<undefined> {
  const set = Object.keys(env).filter((name) => PROXIES.has(name.toLowerCase()) && (env[name] ?? '') !== '');
  return set.length === 0
    ? ok('no proxy is set, and the relay uses none')
    : warning(
        `${set.join(', ')} ${set.length === 1 ? 'is' : 'are'} set; the relay does not use proxies, and connects directly`,
        'see that MLflow and the issuer can be reached without the proxy; then this can stay as it is',
      );
}

/** Node's own switch turns every check of certificates off, that of clients excepted. */
export function checkVerification(env: Environment): Verdict<undefined> {
  return env['NODE_TLS_REJECT_UNAUTHORIZED'] === '0'
    ? failed(
        'NODE_TLS_REJECT_UNAUTHORIZED=0 is set: whoever is on the way can read secrets, tokens and traces',
        'take it out of the environment, and name the CA by ca_file',
      )
    : ok('certificates of MLflow and of the issuer are checked');
}

/**
 * `mlflow server` takes its database from MLFLOW_BACKEND_STORE_URI alone, or else a file of SQLite where it was started
 * (mlflow/cli); what is given no store takes MLFLOW_TRACKING_URI (mlflow/tracking/_tracking_service/utils.py).
 */
export function checkStoreVariables(env: Environment): Verdict<undefined> {
  const backend = env['MLFLOW_BACKEND_STORE_URI'] ?? '';
  const tracking = env['MLFLOW_TRACKING_URI'] ?? '';
  // The address of a server is for clients.
  if (tracking === '' || /^https?:/i.test(tracking)) {
    return skipped(
      "MLflow's are not to be seen here, nor over HTTP: where it runs, MLFLOW_BACKEND_STORE_URI (or --backend-store-uri) has to name its database, and MLFLOW_TRACKING_URI the same one, or none",
    );
  }
  const fix = 'where MLflow runs, set both to the address of its database, and start it again';
  if (backend === '') {
    return warning(
      `MLFLOW_TRACKING_URI of this environment is a store (${storeOf(tracking)}), and MLFLOW_BACKEND_STORE_URI is not set: an MLflow started with this keeps all in a file of SQLite, unless it has --backend-store-uri`,
      fix,
    );
  }
  return tracking === backend
    ? ok('MLFLOW_BACKEND_STORE_URI and MLFLOW_TRACKING_URI of this environment agree')
    : warning(
        `MLFLOW_BACKEND_STORE_URI (${storeOf(backend)}) and MLFLOW_TRACKING_URI (${storeOf(tracking)}) of this environment name two stores: an MLflow started with them keeps traces in one, and may look for them in the other`,
        fix,
      );
}

/** Without the user and password. */
function storeOf(uri: string): string {
  return quote(uri.replace(/\/\/.*@/s, '//').replace(/\?.*$/s, ''));
}
