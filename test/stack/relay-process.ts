import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { StackError, freePort, startProcess } from './processes.ts';
import { createService } from './service.ts';
import type { Service } from './service.ts';

const MAIN = join(import.meta.dirname, '../../dist/main.js');

/** What a configuration of the relay is made of here; anything else goes by `more`, laid over it section by section. */
export type RelayOptions = {
  /** Configuration, secret, queue and log; made if missing. A queue that is there is used on. */
  directory: string;
  certificates: { caFile: string; certFile: string; keyFile: string };
  mlflowUrl: string;
  experiment: { name: string } | { id: string };
  issuer: string;
  client: { clientId: string; secret: string };
  allowedClients?: readonly string[];
  /** Free ones unless given; the same after a restart. */
  receiverPort?: number;
  adminPort?: number;
  more?: Record<string, Record<string, unknown>>;
  /** Laid over that of this process. */
  environment?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
};

export type LogLine = { level: string; time: string; msg: string; [field: string]: unknown };

/** Started again, it has the same configuration, queue and ports. */
export type RelayProcess = Service & {
  /** As in https://127.0.0.1:4318, without a path. */
  readonly url: string;
  readonly adminUrl: string;
  readonly configFile: string;
  readonly logFile: string;
  /** Written to by tests that rotate the secret. */
  readonly secretFile: string;
  /** All that was logged, of earlier starts too. */
  logLines(): Promise<LogLine[]>;
  /** Samples by name and labels as they stand in the exposition, as in `…_total{destination="mlflow"}`. */
  metrics(): Promise<Map<string, number>>;
  status(): Promise<Record<string, unknown>>;
};

/**
 * Writes a configuration and starts the built relay with it, as an operator would.
 * @throws StackError with the end of its log when it does not start
 */
export async function startRelayProcess(options: RelayOptions): Promise<RelayProcess> {
  if (!existsSync(MAIN)) throw new StackError('the relay is not built: npm run build');
  const { directory } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const receiverPort = options.receiverPort ?? (await freePort());
  const adminPort = options.adminPort ?? (await freePort());
  const adminUrl = `http://127.0.0.1:${adminPort}`;
  const configFile = join(directory, 'relay.yaml');
  const secretFile = join(directory, 'client-secret');
  const logFile = join(directory, 'relay.log');
  await writeFile(secretFile, options.client.secret, { mode: 0o600 });
  await writeFile(configFile, stringify(configuration(options, { receiverPort, adminPort, secretFile })), {
    mode: 0o600,
  });

  const service = createService({
    name: 'the relay',
    launch: () =>
      startProcess(process.execPath, [MAIN, 'run', '--config', configFile], {
        cwd: directory,
        env: { ...process.env, ...options.environment },
        logFile,
      }),
    logFile,
    healthUrl: () => hasStarted(adminUrl),
    readyDeadlineMs: 30_000,
    stopDeadlineMs: 40_000,
    signal: options.signal,
  });
  await service.start();
  return {
    ...service,
    url: `https://127.0.0.1:${receiverPort}`,
    adminUrl,
    configFile,
    logFile,
    secretFile,
    logLines: async () => parseLog(await readFile(logFile, 'utf8')),
    metrics: async () => parseMetrics(await (await fetch(`${adminUrl}/metrics`)).text()),
    status: async () => (await (await fetch(`${adminUrl}/status`)).json()) as Record<string, unknown>,
  };
}

/** Ready, or kept from it by its disk alone. */
async function hasStarted(adminUrl: string): Promise<boolean> {
  const response = await fetch(`${adminUrl}/readyz`, { signal: AbortSignal.timeout(5_000) });
  const { queue } = (await response.json()) as { queue: { can_append: boolean } };
  return response.ok || !queue.can_append;
}

function configuration(
  {
    directory,
    certificates,
    mlflowUrl,
    experiment,
    issuer,
    client,
    allowedClients = [],
    more = {},
  }: RelayOptions,
  ports: { receiverPort: number; adminPort: number; secretFile: string },
): Record<string, unknown> {
  const base: Record<string, Record<string, unknown>> = {
    receiver: {
      listen: `127.0.0.1:${ports.receiverPort}`,
      tls: {
        cert_file: certificates.certFile,
        key_file: certificates.keyFile,
        client_ca_file: certificates.caFile,
      },
      allowed_clients: allowedClients,
    },
    queue: { directory: join(directory, 'queue') },
    destinations: {
      mlflow: {
        kind: 'mlflow',
        url: mlflowUrl,
        experiment,
        auth: {
          kind: 'client_credentials',
          issuer,
          client_id: client.clientId,
          client_secret_file: ports.secretFile,
        },
      },
    },
    admin: { listen: `127.0.0.1:${ports.adminPort}` },
  };
  const sections = new Set([...Object.keys(base), ...Object.keys(more)]);
  return Object.fromEntries([...sections].map((name) => [name, { ...base[name], ...more[name] }]));
}

/** Lines that are not JSON, such as a message of Node's own, become lines of level "raw". */
function parseLog(text: string): LogLine[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      try {
        return JSON.parse(line) as LogLine;
      } catch {
        return { level: 'raw', time: '', msg: line };
      }
    });
}

function parseMetrics(text: string): Map<string, number> {
  return new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const space = line.lastIndexOf(' ');
        return [line.slice(0, space), Number(line.slice(space + 1))];
      }),
  );
}
