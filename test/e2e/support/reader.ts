import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { inject } from 'vitest';
import { parse, stringify } from 'yaml';
import { writeDevelopmentCertificates } from '../../stack/certificates.ts';
import { freePort, startProcess, waitFor } from '../../stack/processes.ts';
import { pythonEnv } from '../../stack/python.ts';
import { createService } from '../../stack/service.ts';
import type { Service } from '../../stack/service.ts';
import { DEADLINE_MS } from './relay.ts';
import { createSender } from './sender.ts';
import type { Sender } from './sender.ts';
import { startShell } from './shell.ts';
import type { Ran } from './shell.ts';
import { lineWith } from './transcript.ts';

const MAIN = resolve(import.meta.dirname, '../../../dist/main.js');
/** Of the queue, and no longer in the configuration. */
const FORMER_DESTINATION = 'staging';
const SENDER = 'spiffe://cluster.local/ns/observability/sa/agent';

const TRAIN = `
import mlflow
mlflow.set_experiment("traces")
with mlflow.start_run():
    mlflow.log_metric("loss", 0.1)
`;

/** Somebody who does what the README says, in a folder of their own. */
export type Reader = {
  /** One command after the other, in a shell; the relay itself runs on, and what it has said so far is given. */
  types(command: string): Promise<Ran>;
  /** With the certificate of an agent. */
  readonly sender: Sender;
  /** A text of the README as it has to be here, and back. */
  toHere(text: string): string;
  toReadme(text: string): string;
  stop(): Promise<void>;
};

/**
 * @param folder is filled with all that the README's configuration names
 * @param configuration as the README has it
 * @param experimentId what is 1 in the README
 */
export async function createReader(
  folder: string,
  configuration: string,
  experimentId: string,
): Promise<Reader> {
  const { mlflowUrl, issuer, readmeClient, python } = inject('stack');
  const [port, adminPort] = [await freePort(), await freePort()];
  /** Of the README, and here; those that are part of others come behind them. */
  const names: readonly (readonly [string, string])[] = [
    ['https://mlflow.example.com', mlflowUrl],
    ['https://keycloak.example.com/realms/mlflow', issuer],
    ['https://mlflow-trace-relay:4318', `https://127.0.0.1:${port}`],
    ['0.0.0.0:4318', `127.0.0.1:${port}`],
    [':4318', `:${port}`],
    [':9464', `:${adminPort}`],
    ['experiments/1/', `experiments/${experimentId}/`],
    ['experiment 1', `experiment ${experimentId}`],
    ['the id 1', `the id ${experimentId}`],
    ['/var/lib/mlflow-trace-relay', join(folder, 'queue')],
    ['/run/secrets/otel-relay', join(folder, 'secrets', 'otel-relay')],
    ['/etc/mlflow-trace-relay', folder],
  ];
  const toHere = (text: string) =>
    names.reduce((made, [readme, here]) => made.replaceAll(readme, here), text);
  const toReadme = (text: string) =>
    names.reduce((made, [readme, here]) => made.replaceAll(here, readme), text);

  const files = await writeDevelopmentCertificates(folder, { clientUri: SENDER });
  await mkdir(join(folder, 'bin'));
  await mkdir(join(folder, 'secrets'));
  await writeFile(join(folder, 'secrets', 'otel-relay'), readmeClient.secret, { mode: 0o600 });
  const program = async (name: string, command: string) =>
    writeFile(join(folder, 'bin', name), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
  await program('mlflow-trace-relay', `'${process.execPath}' '${MAIN}'`);
  await program('python', `'${python}'`);
  await writeFile(join(folder, 'train.py'), TRAIN);

  const configFile = join(folder, 'relay.yaml');
  const config = parse(toHere(configuration)) as Record<string, Record<string, unknown>>;
  config['admin'] = { listen: `127.0.0.1:${adminPort}` };
  const env = {
    ...pythonEnv(),
    PATH: `${join(folder, 'bin')}:${process.env['PATH']}`,
    XDG_CACHE_HOME: join(folder, 'cache'),
    // What Python and MLflow warn of depends on the machine.
    PYTHONWARNINGS: 'ignore',
    MLFLOW_LOGGING_LEVEL: 'ERROR',
  };
  const relayOf = (logFile: string, words: readonly string[]) =>
    createService({
      name: 'the relay of the README',
      launch: () => startProcess(words[0]!, words.slice(1), { cwd: folder, env, logFile }),
      logFile,
      healthUrl: `http://127.0.0.1:${adminPort}/readyz`,
      readyDeadlineMs: 30_000,
      stopDeadlineMs: 40_000,
    });

  const { destinations = {} } = config;
  const withFormer = { ...destinations, [FORMER_DESTINATION]: destinations['mlflow'] };
  await writeFile(configFile, stringify({ ...config, destinations: withFormer }));
  const before = relayOf(join(folder, 'former.log'), ['mlflow-trace-relay', 'run', '-c', configFile]);
  await before.start();
  await before.stop();
  await writeFile(configFile, stringify(config));

  const clientFiles = { caFile: files.caFile, certFile: files.clientCertFile, keyFile: files.clientKeyFile };
  const sender = await createSender(`https://127.0.0.1:${port}`, clientFiles);
  const shell = startShell(folder, env);
  let relay: Service | undefined;
  return {
    async types(command) {
      if (!command.startsWith('mlflow-trace-relay run ')) return shell.run(command);
      const logFile = join(folder, 'relay.log');
      relay = relayOf(logFile, command.split(' '));
      await relay.start();
      // What else it says depends on how fast the machine is.
      const said = async () => lineWith(await readFile(logFile, 'utf8'), '"relay started"');
      return { printed: await waitFor('the relay has not said that it started', DEADLINE_MS, said), code: 0 };
    },
    sender,
    toHere,
    toReadme,
    async stop() {
      try {
        await sender.close();
      } finally {
        await shell.stop().finally(() => relay?.stop());
      }
    },
  };
}
