import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import { writeDevelopmentCertificates } from '../../stack/certificates.ts';
import { ensureKeycloak, startKeycloak } from '../../stack/keycloak.ts';
import type { Keycloak } from '../../stack/keycloak.ts';
import { createMlflowClient } from '../../stack/mlflow-client.ts';
import { redirectUrisOf, startMlflow } from '../../stack/mlflow.ts';
import type { Mlflow } from '../../stack/mlflow.ts';
import { SENDER } from './stack.ts';
import type { Stack } from './stack.ts';
import { requestToken } from './token.ts';

/** The relay's client in the realm for import. */
export const RELAY_CLIENT = 'otel-relay';

/** With a Keycloak and an MLflow of its own; whoever changes the client's secret writes it to `client`. */
export type KeycloakStack = Stack & {
  readonly keycloak: Keycloak;
  readonly server: Mlflow;
};

/** Keycloak as it comes with the realm for import, and an MLflow that knows nothing but its address. */
export async function startKeycloakStack(): Promise<KeycloakStack> {
  const { python } = inject('stack');
  const installed = await ensureKeycloak();
  const directory = await mkdtemp(join(tmpdir(), 'keycloak-e2e-'));
  // What is thrown away need not end in order.
  const undo: (() => Promise<unknown>)[] = [() => rm(directory, { recursive: true, force: true })];
  const stop = async () => {
    for (const step of undo.toReversed()) await step();
  };
  try {
    const keycloak = await startKeycloak({ installed, directory: join(directory, 'keycloak') });
    undo.push(() => keycloak.stop('SIGKILL'));
    const server = await startMlflow({
      directory: join(directory, 'mlflow'),
      python: { directory: '', python, id: '' },
      oidc: keycloak,
      browser: { clientId: 'mlflow', secret: await keycloak.admin.secretOf('mlflow') },
      sessionSecret: randomBytes(24).toString('base64url'),
    });
    undo.push(() => server.stop('SIGKILL'));
    await keycloak.admin.updateClient('mlflow', {
      rootUrl: server.url,
      redirectUris: redirectUrisOf(server.port),
    });
    const certificates = await writeDevelopmentCertificates(join(directory, 'certificates'), {
      clientUri: SENDER,
    });
    const client = { clientId: RELAY_CLIENT, secret: await keycloak.admin.secretOf(RELAY_CLIENT) };
    const token = () => requestToken(`${keycloak.issuer}/protocol/openid-connect/token`, client);
    return {
      mlflowUrl: server.url,
      issuer: keycloak.issuer,
      client,
      certificates,
      python,
      mlflow: createMlflowClient(server.url, token),
      token,
      experimentName: () => `keycloak-${randomBytes(6).toString('hex')}`,
      keycloak,
      server,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
