import { chmodSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import type { Check } from '../../src/doctor/checkup.ts';
import { examine } from '../../src/doctor/doctor.ts';
import type { Examined } from '../../src/doctor/doctor.ts';
import { sendJson } from '../auth/support.ts';
import { folder } from '../config/folder.ts';
import { startUpstream } from '../destinations/support.ts';
import type { Asked } from '../destinations/support.ts';
import { createCertificateAuthority } from '../stack/certificates.ts';
import type { CertificateAuthority, KeyPair } from '../stack/certificates.ts';
import { startOidcProvider } from '../stack/oidc-provider.ts';
import type { OidcProvider } from '../stack/oidc-provider.ts';

/* A relay's set-up in which all is right, to be broken in one place. */

export const SECRET = 'the-secret-of-the-relay';

/** What all set-ups of a test file share, and none may change for good. */
export type Shared = {
  readonly oidc: OidcProvider;
  readonly ca: CertificateAuthority;
  readonly receiver: KeyPair;
};

async function startShared(): Promise<Shared> {
  const browser = { clientId: 'mlflow', secret: SECRET, redirectUris: ['http://127.0.0.1:1/callback'] };
  const oidc = await startOidcProvider({
    port: 0,
    services: [
      { clientId: 'relay', secret: SECRET, username: 'service-account-relay' },
      { clientId: 'no-groups', secret: SECRET, username: 'service-account-relay', groups: [] },
      { clientId: 'full-paths', secret: SECRET, username: 'service-account-relay', groups: ['/mlflow'] },
    ],
    browser,
  });
  const ca = await createCertificateAuthority('test CA');
  const receiver = await ca.issue({
    commonName: 'relay',
    dnsNames: ['localhost'],
    ips: ['127.0.0.1'],
    usage: 'server',
  });
  return { oidc, ca, receiver };
}

/** For all tests of a file, which find the issuer as it was. */
export function useShared(): Shared {
  const shared = {} as { -readonly [K in keyof Shared]: Shared[K] };
  beforeAll(async () => void Object.assign(shared, await startShared()));
  afterAll(() => shared.oidc?.stop());
  afterEach(() => {
    shared.oidc.setTokenLifetime(300);
    shared.oidc.setClockAhead(0);
  });
  return shared;
}

/** The keys that tests change. */
export type Configuration = {
  receiver: { listen: string; tls: Record<'cert_file' | 'key_file' | 'client_ca_file', string> };
  queue: { directory: string; max_size: string };
  destinations: {
    mlflow: {
      url: string;
      experiment: { name: string } | { id: string };
      timeout?: string;
      tls?: Record<string, string>;
      auth: Record<string, string>;
    };
  };
  admin: { listen: string };
};

export type Setting = {
  readonly shared: Shared;
  readonly path: string;
  readonly configFile: string;
  readonly config: Configuration;
  readonly env: Record<string, string>;
  /** What answers in MLflow's place, where true is returned. */
  answer: (asked: Asked, response: ServerResponse) => boolean;
  /** Into the folder of the configuration; for the owner alone unless given. */
  write(name: string, content: string, mode?: number): string;
  /** Puts another certificate, with its key, in the place of the receiver's. */
  certify(pair: KeyPair): void;
};

const SERVED: Readonly<Record<string, (response: ServerResponse) => void>> = {
  'GET /health': (response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('OK'),
  'GET /version': (response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('3.18.0'),
  'GET /api/3.0/mlflow/server-info': (response) =>
    sendJson(response, 200, { store_type: 'SqlStore', workspaces_enabled: false }),
};

/** @param breakIt changes the set-up before it is examined */
export async function examineBroken(
  shared: Shared,
  breakIt: (setting: Setting) => unknown,
): Promise<Examined & { setting: Setting; told: readonly Check[]; asked: readonly Asked[] }> {
  const path = folder({});
  const upstream = await startUpstream(
    (asked, response) => setting.answer(asked, response) || serve(asked, response),
  );
  onTestFinished(() => upstream.stop());
  upstream.experiments.push({ experiment_id: '1', name: 'traces', lifecycle_stage: 'active' });
  const write = (name: string, content: string, mode = 0o600) => {
    const file = join(path, name);
    writeFileSync(file, content);
    chmodSync(file, mode);
    return file;
  };
  const setting: Setting = {
    shared,
    path,
    configFile: join(path, 'relay.yaml'),
    config: {
      receiver: {
        listen: '127.0.0.1:0',
        tls: { cert_file: 'tls.crt', key_file: 'tls.key', client_ca_file: 'ca.crt' },
      },
      queue: { directory: 'queue', max_size: '65MiB' },
      destinations: {
        mlflow: {
          kind: 'mlflow',
          url: upstream.url,
          experiment: { name: 'traces' },
          auth: {
            kind: 'client_credentials',
            issuer: shared.oidc.issuer,
            client_id: 'relay',
            client_secret_file: 'secret',
          },
        } as Configuration['destinations']['mlflow'],
      },
      admin: { listen: '127.0.0.1:0' },
    },
    env: {},
    answer: () => false,
    write,
    certify({ certPem, keyPem }) {
      write('tls.crt', certPem);
      write('tls.key', keyPem);
    },
  };
  setting.certify(shared.receiver);
  write('ca.crt', shared.ca.certPem);
  write('secret', `${SECRET}\n`);
  write('relay.yaml', '');
  await breakIt(setting);
  writeFileSync(setting.configFile, stringify(setting.config));

  const told: Check[] = [];
  const examined = await examine(
    setting.configFile,
    setting.env,
    (destinations) => destinations,
    (check) => told.push(check),
  );
  return { ...examined, setting, told, asked: upstream.asked };
}

/** MLflow behind mlflow-oidc-auth, as far as it is asked: no token, no answer. */
function serve({ what, headers }: Asked, response: ServerResponse): boolean {
  const served = SERVED[what];
  const isSigned = /[^.]$/.test(headers.authorization ?? '');
  if (served !== undefined) served(response);
  else if (!isSigned) sendJson(response, 401, { detail: 'Authentication required' });
  else if (what === 'GET search') sendJson(response, 200, {});
  else return false;
  return true;
}

/** Of the machine that the tests run on, which may have a slow disk, or one in memory. */
const OF_MACHINE = new Set(['queue disk', 'queue speed', 'queue space']);

/** What is wrong, as `state name`; a machine's own troubles left out. */
export function problemsIn(checks: readonly Check[]): string[] {
  return checks
    .filter(({ state, name }) => (state === 'failed' || state === 'warning') && !OF_MACHINE.has(name))
    .map(({ state, name }) => `${state} ${name}`);
}
