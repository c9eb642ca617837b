import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { RelayError, messageOf } from '../../src/errors.ts';
import { DEFAULT_SERVICE, agentTrace } from '../../src/inject/agent-trace.ts';
import { lockDirectory } from '../../src/queue/lock.ts';
import { writeDevelopmentCertificates } from './certificates.ts';
import type { DevelopmentCertificates } from './certificates.ts';
import { createMlflowClient } from './mlflow-client.ts';
import type { StoredTrace } from './mlflow-client.ts';
import { redirectUrisOf, startMlflow } from './mlflow.ts';
import { ADMIN_GROUP, GROUP, startOidcProvider } from './oidc-provider.ts';
import type { Person } from './oidc-provider.ts';
import { postTraces } from './otlp-client.ts';
import { StackError, isPortFree } from './processes.ts';
import { step } from './progress.mjs';
import { ensurePythonEnvironment } from './python.ts';
import { startRelayProcess } from './relay-process.ts';
import { spanTree } from './span-tree.ts';
import { runUntilStopped } from './stop-signals.ts';

/*
 * The whole way of a trace on one machine: client certificate, relay, token, a real MLflow, and back. Started by
 * bootstrap.mjs, which has installed and built what this needs.
 */

const CACHE = resolve(import.meta.dirname, '../../.cache');
const CLIENT_URI = 'spiffe://quickstart.example/agent';
const EXPERIMENT = 'quickstart';
const RELAY_CLIENT = 'otel-relay';
const MLFLOW_CLIENT = 'mlflow';

type Options = {
  once: boolean;
  mlflowPort: number;
  issuerPort: number;
  receiverPort: number;
  adminPort: number;
  directory: string;
};

/** Made at the first run and kept, so that a login and an MLflow session outlive a restart. */
type Secrets = { relay: string; mlflow: string; session: string; password: string };

type Shown = {
  trace: StoredTrace;
  mlflowUrl: string;
  relay: { url: string; adminUrl: string; configFile: string };
  person: Person;
  certificates: DevelopmentCertificates;
};

async function main(options: Options, signal: AbortSignal): Promise<void> {
  /** What was started, undone from the last to the first. */
  const undo: (() => unknown)[] = [];
  try {
    await checkPorts(options);
    const { directory } = options;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await chmod(directory, 0o700);
    undo.push(holdDirectory(directory));

    const python = await step('MLflow in a Python environment', () =>
      ensurePythonEnvironment(CACHE, { signal }),
    );
    const secrets = await readSecrets(join(directory, 'secrets.json'));
    const person: Person = {
      email: 'you@quickstart.example',
      password: secrets.password,
      name: 'You',
      groups: [GROUP, ADMIN_GROUP],
    };

    const certificates = await step('certificates for mutual TLS', () =>
      writeDevelopmentCertificates(join(directory, 'certificates'), { clientUri: CLIENT_URI }),
    );
    const oidc = await step('OpenID provider', () =>
      startOidcProvider({
        port: options.issuerPort,
        services: [
          { clientId: RELAY_CLIENT, secret: secrets.relay, username: `service-account-${RELAY_CLIENT}` },
        ],
        browser: {
          clientId: MLFLOW_CLIENT,
          secret: secrets.mlflow,
          redirectUris: redirectUrisOf(options.mlflowPort),
        },
        people: [person],
      }),
    );
    undo.push(() => oidc.stop());

    const mlflow = await step('MLflow with mlflow-oidc-auth', () =>
      startMlflow({
        // Another release may not read what this one wrote.
        directory: join(directory, `mlflow-${python.id}`),
        python,
        oidc,
        browser: { clientId: MLFLOW_CLIENT, secret: secrets.mlflow },
        sessionSecret: secrets.session,
        port: options.mlflowPort,
        signal,
      }),
    );
    undo.push(() => mlflow.stop());

    const relay = await step('relay', () =>
      startRelayProcess({
        directory: join(directory, 'relay'),
        certificates,
        mlflowUrl: mlflow.url,
        experiment: { name: EXPERIMENT },
        issuer: oidc.issuer,
        client: { clientId: RELAY_CLIENT, secret: secrets.relay },
        allowedClients: ['spiffe://quickstart.example/*'],
        receiverPort: options.receiverPort,
        adminPort: options.adminPort,
        signal,
      }),
    );
    undo.push(() => relay.stop());

    const sent = agentTrace(DEFAULT_SERVICE, {}, Date.now());
    await step('a trace over mutual TLS, kept on disk by the relay', () =>
      send(relay.url, certificates, sent.payload),
    );
    const client = createMlflowClient(mlflow.url, () => oidc.token(RELAY_CLIENT));
    const trace = await step('the same trace, read back from MLflow', () =>
      Promise.race([
        client.waitForTrace(sent.traceId, { spans: sent.spanCount, signal }),
        relay.failed,
        mlflow.failed,
      ]),
    );

    process.stdout.write(`\n${spanTree(trace.spans).join('\n')}\n`);
    if (options.once) {
      process.stdout.write('\nAll of it ends here; without --once it stays, to look around, until Ctrl-C.\n');
      return;
    }
    process.stdout.write(summary({ trace, mlflowUrl: mlflow.url, relay, person, certificates }));
    process.stdout.write('\nAll of it runs until Ctrl-C.\n');
    await Promise.race([untilAborted(signal), relay.failed, mlflow.failed]);
  } finally {
    for (const stop of undo.toReversed()) {
      try {
        await stop();
      } catch (error) {
        process.stderr.write(`quickstart: ${messageOf(error)}\n`);
      }
    }
  }
}

async function checkPorts(options: Options): Promise<void> {
  const wanted = [
    ['MLflow', options.mlflowPort, '--mlflow-port'],
    ['the OpenID provider', options.issuerPort, '--issuer-port'],
    ['the receiver of the relay', options.receiverPort, '--receiver-port'],
    ['the admin address of the relay', options.adminPort, '--admin-port'],
  ] as const;
  for (const [index, [what, port, option]] of wanted.entries()) {
    const twin = wanted.slice(0, index).find(([, other]) => other === port);
    if (twin !== undefined)
      throw new StackError(`${twin[2]} and ${option} are both ${port}; give each its own`);
    if (await isPortFree(port)) continue;
    throw new StackError(
      `port ${port}, for ${what}, is taken; free it, or choose another: npm run quickstart -- ${option} ${port === 65_535 ? port - 1 : port + 1}`,
    );
  }
}

function holdDirectory(directory: string): () => void {
  try {
    return lockDirectory(directory);
  } catch (error) {
    if (!(error instanceof RelayError) || error.code !== 'QUEUE_LOCKED') throw error;
    throw new StackError(`another quickstart runs in ${directory}; stop it, or choose another --directory`, {
      cause: error,
    });
  }
}

async function readSecrets(file: string): Promise<Secrets> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Secrets;
  } catch {
    const secrets = {
      relay: randomSecret(),
      mlflow: randomSecret(),
      session: randomSecret(),
      // For a person to type, on the loopback interface.
      password: randomBytes(6).toString('hex'),
    };
    await writeFile(file, JSON.stringify(secrets, undefined, 2), { mode: 0o600 });
    return secrets;
  }
}

function randomSecret(): string {
  return randomBytes(24).toString('base64url');
}

async function send(url: string, files: DevelopmentCertificates, payload: Uint8Array): Promise<void> {
  const { caFile, clientCertFile, clientKeyFile } = files;
  const client = { caFile, certFile: clientCertFile, keyFile: clientKeyFile };
  const answer = await postTraces(url, client, payload, { 'content-type': 'application/x-protobuf' });
  if (answer.status !== 200) {
    throw new StackError(
      `the relay answered ${answer.status}: ${answer.body.toString('utf8').slice(0, 300)}`,
    );
  }
}

function summary({ trace, mlflowUrl, relay, person, certificates }: Shown): string {
  const { caFile, clientCertFile, clientKeyFile } = certificates;
  return `
See it      ${mlflowUrl}/#/experiments/${trace.experimentId}/traces
Log in      ${person.email}, password ${person.password}

Send more from any OpenTelemetry SDK or Collector, with
  export OTEL_EXPORTER_OTLP_ENDPOINT=${relay.url}
  export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
  export OTEL_EXPORTER_OTLP_CERTIFICATE=${caFile}
  export OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=${clientCertFile}
  export OTEL_EXPORTER_OTLP_CLIENT_KEY=${clientKeyFile}
or by hand, with
  curl --cacert ${shown(caFile)} --cert ${shown(clientCertFile)} --key ${shown(clientKeyFile)} -H 'content-type: application/json' -d '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"'$(openssl rand -hex 16)'","spanId":"'$(openssl rand -hex 8)'","name":"hello","startTimeUnixNano":"'$(date +%s)000000000'","endTimeUnixNano":"'$(date +%s)500000000'"}]}]}]}' ${relay.url}/v1/traces

The relay   ${shown(relay.configFile)}, its log beside it; ${relay.adminUrl}/status and /metrics
`;
}

/** Relative to where the command was typed, if that is shorter. */
function shown(file: string): string {
  const path = relative(process.cwd(), file);
  return path.startsWith('..') ? file : path;
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });
}

function toPort(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= 65_535) return value;
  throw new InvalidArgumentError('expected a port, 1 to 65535.');
}

const command = new Command('npm run quickstart --')
  .description(
    'a trace all the way: relay, OpenID provider and MLflow on this machine, on the loopback interface only',
  )
  .option('--once', 'end after the first trace was read back', false)
  .option('--mlflow-port <port>', 'MLflow, for the browser', toPort, 5001)
  .option('--issuer-port <port>', 'OpenID provider', toPort, 5556)
  .option('--receiver-port <port>', 'OTLP/HTTP receiver of the relay', toPort, 4318)
  .option('--admin-port <port>', 'metrics and health of the relay', toPort, 9464)
  .option(
    '--directory <path>',
    'certificates, databases and queue; kept for the next run',
    join(CACHE, 'quickstart'),
  )
  .parse();

const options = command.opts<Options>();
await runUntilStopped('quickstart', (signal) =>
  main({ ...options, directory: resolve(options.directory) }, signal),
);
