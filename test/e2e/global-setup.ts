import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { TestProject } from 'vitest/node';
import { redirectUrisOf, startMlflow } from '../stack/mlflow.ts';
import { ADMIN_GROUP, GROUP, startOidcProvider } from '../stack/oidc-provider.ts';
import { freePort } from '../stack/processes.ts';
import { ensurePythonEnvironment } from '../stack/python.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** The counterparts that all end-to-end tests share; nobody stops them. `inject('stack')` in a test. */
    stack: {
      mlflowUrl: string;
      issuer: string;
      /** By client_credentials, as the user `service-account-relay`. */
      client: { clientId: string; secret: string };
      /** Another account, `service-account-other`, which may use MLflow and sees nothing of the first one's. */
      otherClient: { clientId: string; secret: string };
      /** The client of the README, which is `service-account-otel-relay`. */
      readmeClient: { clientId: string; secret: string };
      /** Logs in to MLflow with a browser, and administers it. */
      person: { email: string; password: string };
      /** The interpreter with OpenTelemetry's SDK. */
      python: string;
    };
  }
}

const CACHE = resolve(import.meta.dirname, '../../.cache');

/** Starts an OpenID provider and an MLflow with empty databases, for the whole run. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const python = await ensurePythonEnvironment(CACHE);
  const client = { clientId: 'relay', secret: secret() };
  const otherClient = { clientId: 'other', secret: secret() };
  const readmeClient = { clientId: 'otel-relay', secret: secret() };
  const browser = { clientId: 'mlflow', secret: secret() };
  const person = { email: 'person@e2e.example', password: secret() };
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), 'mlflow-e2e-'));

  const oidc = await startOidcProvider({
    port: 0,
    services: [
      { ...client, username: 'service-account-relay' },
      { ...otherClient, username: 'service-account-other' },
      { ...readmeClient, username: 'service-account-otel-relay' },
    ],
    browser: { ...browser, redirectUris: redirectUrisOf(port) },
    people: [{ ...person, name: 'Person', groups: [GROUP, ADMIN_GROUP] }],
  });
  const stop = async () => {
    await oidc.stop();
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const mlflow = await startMlflow({ directory, python, oidc, browser, sessionSecret: secret(), port });
    project.provide('stack', {
      mlflowUrl: mlflow.url,
      issuer: oidc.issuer,
      client,
      otherClient,
      readmeClient,
      person,
      python: python.python,
    });
    return async () => {
      await mlflow.stop('SIGKILL');
      await stop();
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function secret(): string {
  return randomBytes(24).toString('base64url');
}
