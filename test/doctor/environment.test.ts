import { describe, expect, test } from 'vitest';
import { checkProxies, checkStoreVariables } from '../../src/doctor/environment.ts';

describe('the environment', () => {
  test.each([
    [{}, 'ok', 'no proxy is set'],
    [{ https_proxy: '' }, 'ok', 'no proxy is set'],
    [{ NO_PROXY: '*' }, 'ok', 'no proxy is set'],
    [{ http_proxy: 'http://p', ALL_PROXY: 'socks5://p' }, 'warning', 'http_proxy, ALL_PROXY are set'],
  ])('proxies in %j', (env, state, words) => {
    const verdict = checkProxies(env);
    expect(verdict.state).toBe(state);
    expect(verdict.words).toContain(words);
  });

  test.each([
    [undefined, undefined, 'skipped'],
    ['sqlite:///a.db', undefined, 'skipped'],
    ['sqlite:///a.db', 'sqlite:///a.db', 'ok'],
    ['sqlite:///a.db', 'https://mlflow.example', 'skipped'],
    [undefined, 'sqlite:///a.db', 'warning'],
    ['sqlite:///a.db', 'sqlite:///b.db', 'warning'],
  ])("MLflow's stores %s and %s: %s", (backend, tracking, state) => {
    const env = { MLFLOW_BACKEND_STORE_URI: backend, MLFLOW_TRACKING_URI: tracking };
    expect(checkStoreVariables(env).state).toBe(state);
  });
});
