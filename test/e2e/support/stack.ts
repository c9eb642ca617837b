import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import { writeDevelopmentCertificates } from '../../stack/certificates.ts';
import type { DevelopmentCertificates } from '../../stack/certificates.ts';
import { createMlflowClient } from '../../stack/mlflow-client.ts';
import type { MlflowClient } from '../../stack/mlflow-client.ts';
import { startMlflow } from '../../stack/mlflow.ts';
import type { Mlflow, MlflowOptions } from '../../stack/mlflow.ts';
import { startOidcProvider } from '../../stack/oidc-provider.ts';
import type { OidcProvider } from '../../stack/oidc-provider.ts';
import { freePort } from '../../stack/processes.ts';
import { requestToken } from './token.ts';

/** The client certificate of the stack names this. */
export const SENDER = 'spiffe://e2e.example/ns/test/sa/sender';

/** All that a relay and its test need around them. */
export type Stack = {
  readonly mlflowUrl: string;
  readonly issuer: string;
  readonly client: { clientId: string; secret: string };
  readonly certificates: DevelopmentCertificates;
  /** The interpreter with OpenTelemetry's SDK. */
  readonly python: string;
  /** MLflow's REST API, as the account of the relay. */
  readonly mlflow: MlflowClient;
  /** An access token of that account. */
  token(): Promise<string>;
  /** One that is not there yet. */
  experimentName(): string;
  stop(): Promise<void>;
};

/** The MLflow and the provider that all test files share; certificates are this file's own. */
export async function useSharedStack(): Promise<Stack> {
  const { mlflowUrl, issuer, client, python } = inject('stack');
  return createStack({ mlflowUrl, issuer, client, python }, async () => {});
}

/** With a provider and an MLflow of its own, for tests that stop them or change their keys. */
export type OwnStack = Stack & {
  readonly oidc: OidcProvider;
  readonly server: Mlflow;
  /** The provider begins anew with another key, and MLflow has noticed: no token from before is taken any more. */
  rotateSigningKey(): Promise<void>;
};

/** @param options of its MLflow, which is otherwise as the shared one */
export async function startOwnStack(
  options: Partial<
    Pick<MlflowOptions, 'python' | 'database' | 'workers' | 'environment' | 'isOpen' | 'basePath'>
  > = {},
): Promise<OwnStack> {
  const { python } = inject('stack');
  const client = { clientId: 'relay', secret: randomBytes(24).toString('base64url') };
  const directory = await mkdtemp(join(tmpdir(), 'mlflow-e2e-'));
  const services = [{ ...client, username: 'service-account-relay' }];
  // It keeps its port while it is stopped.
  let oidc = await startOidcProvider({ port: await freePort(), services });
  const { issuer, port } = oidc;
  try {
    const server = await startMlflow({
      directory,
      python: { directory: '', python, id: '' },
      oidc,
      browser: { clientId: 'mlflow', secret: randomBytes(24).toString('base64url') },
      sessionSecret: randomBytes(24).toString('base64url'),
      ...options,
    });
    const stack = await createStack({ mlflowUrl: server.url, issuer, client, python }, async () => {
      // What is thrown away need not end in order.
      await server.stop('SIGKILL');
      await oidc.stop();
      await rm(directory, { recursive: true, force: true });
    });
    return {
      ...stack,
      server,
      get oidc() {
        return oidc;
      },
      async rotateSigningKey() {
        await oidc.stop();
        oidc = await startOidcProvider({ port, services });
        // MLflow asks for the keys again at the first token that the old one does not fit.
        await stack.mlflow.findExperiment('any');
      },
    };
  } catch (error) {
    await oidc.stop();
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

async function createStack(
  base: Pick<Stack, 'mlflowUrl' | 'issuer' | 'client' | 'python'>,
  stop: () => Promise<void>,
): Promise<Stack> {
  const directory = await mkdtemp(join(tmpdir(), 'certificates-e2e-'));
  const certificates = await writeDevelopmentCertificates(directory, { clientUri: SENDER });
  const token = () => requestToken(`${base.issuer}/token`, base.client);
  return {
    ...base,
    certificates,
    mlflow: createMlflowClient(base.mlflowUrl, token),
    token,
    experimentName: () => `e2e-${randomBytes(6).toString('hex')}`,
    async stop() {
      await stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
