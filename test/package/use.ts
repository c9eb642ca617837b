import { mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { OidcProvider, ServiceClient } from '../stack/oidc-provider.ts';
import { StackError, freePort, startProcess, waitFor } from '../stack/processes.ts';
import type { Exit } from '../stack/processes.ts';
import { run } from './npm.ts';
import type { Ended, Installed } from './npm.ts';

/** The installed command, with a configuration whose relay runs, whose issuer is there, and whose MLflow is not. */
export type Use = {
  readonly config: string;
  readonly relayUrl: string;
  /** Runs the command; with no token kept before, unless `env` says where they are. */
  command(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ended>;
  /** A folder of somebody who has installed the package there. */
  newProgram(): Promise<string>;
  /** Runs such a program. */
  module(program: string, code: string): Promise<Ended>;
  /** Starts another relay, and stops it when it is ready. */
  startAndStop(): Promise<Exit>;
  newFolder(): Promise<string>;
  stop(): Promise<void>;
};

const READY_WITHIN_MS = 60_000;
const STOPPED_WITHIN_MS = 30_000;
const COMMAND = 'mlflow-trace-relay';

/** @param client whose secret the issuer knows */
export async function startUse(
  { env, directory, folder }: Installed,
  oidc: OidcProvider,
  client: ServiceClient,
): Promise<Use> {
  const newFolder = () => mkdtemp(join(folder, 'use-'));

  async function startRelay() {
    const at = await newFolder();
    const [receiver, admin] = [await freePort(), await freePort()];
    const auth = {
      kind: 'client_credentials',
      issuer: oidc.issuer,
      client_id: client.clientId,
      client_secret_file: 'secret',
    };
    const settings = {
      receiver: { listen: `127.0.0.1:${receiver}`, plaintext: true },
      admin: { listen: `127.0.0.1:${admin}` },
      queue: { directory: 'queue' },
      // Nothing listens there.
      destinations: { mlflow: { kind: 'mlflow', url: 'http://127.0.0.1:9', experiment: { id: '1' }, auth } },
    };
    const config = join(at, 'relay.yaml');
    await writeFile(config, stringify(settings));
    await writeFile(join(at, 'secret'), client.secret, { mode: 0o600 });
    const logFile = join(at, 'relay.log');
    const relay = startProcess(join(folder, 'bin', COMMAND), ['run', '--config', config], {
      cwd: at,
      env,
      logFile,
    });
    await waitFor('the relay was not ready', READY_WITHIN_MS, async () => {
      if (relay.hasExited()) throw new StackError(`the relay ended: ${relay.tail(5)}`);
      const { status } = await fetch(`http://127.0.0.1:${admin}/readyz`);
      return status === 200 ? true : undefined;
    });
    return { config, relay, url: `http://127.0.0.1:${receiver}` };
  }

  const { config, relay, url } = await startRelay();
  return {
    config,
    relayUrl: url,
    newFolder,
    command: async (args, more = {}) =>
      run([COMMAND, ...args], { cwd: folder, env: { ...env, XDG_CACHE_HOME: await newFolder(), ...more } }),
    async newProgram() {
      const program = await newFolder();
      await mkdir(join(program, 'node_modules'));
      await symlink(directory, join(program, 'node_modules', COMMAND));
      await writeFile(join(program, 'package.json'), '{"type":"module"}');
      return program;
    },
    module: (program, code) => run(['node', '--input-type=module', '--eval', code], { cwd: program, env }),
    async startAndStop() {
      return (await startRelay()).relay.stop('SIGTERM', STOPPED_WITHIN_MS);
    },
    stop: async () => void (await relay.stop('SIGTERM', STOPPED_WITHIN_MS)),
  };
}
