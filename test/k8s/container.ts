import { execFileSync } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startProcess } from '../stack/processes.ts';
import type { StartedProcess } from '../stack/processes.ts';
import type { Image } from './image.ts';
import { portOf } from './manifests.ts';
import type { Container, Manifests, Probe } from './manifests.ts';
import type { MountedVolume } from './volumes.ts';

/** New namespaces; the process is the first of its own, as in a container. Its end is that of the command. */
const UNSHARE = ['--mount', '--pid', '--fork', '--kill-child', '--propagation', 'private'];
const SCRIPT = join(import.meta.dirname, 'container.sh');

/** True, with one line about it, where nobody may mount; never in CI, where the tests run and fail. */
export function skipWithoutMounts(): boolean {
  if (process.env['CI'] !== undefined || canMount()) return false;
  process.stderr.write('skipped: to run these tests as the container would run, be root on Linux\n');
  return true;
}

function canMount(): boolean {
  try {
    execFileSync('unshare', [...UNSHARE, 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'ignore' });
    return process.getuid?.() === 0;
  } catch {
    return false;
  }
}

export type RunningContainer = StartedProcess & {
  readonly logFile: string;
  /** Of the command itself, as this machine sees it. */
  commandPid(): Promise<number>;
};

/** Starts the container of the pod in this image, with its user, environment, arguments and volumes. */
export async function startContainer(
  { pod, container }: Manifests,
  image: Image,
  volumes: readonly MountedVolume[],
  directory: string,
): Promise<RunningContainer> {
  const { runAsUser, runAsGroup, fsGroup } = { ...pod.securityContext, ...container.securityContext };
  const volumesFile = join(directory, 'mounts');
  const logFile = join(directory, 'container.log');
  await chmod(image.root, 0o755);
  await writeFile(
    volumesFile,
    volumes
      .map((volume) => `${volume.directory}\t${volume.mountPath}\t${volume.readOnly ? 'ro' : 'rw'}\n`)
      .join(''),
  );
  const command = [...(container.command ?? image.entrypoint), ...(container.args ?? image.cmd)];
  const started = startProcess(
    'unshare',
    [
      ...UNSHARE,
      'sh',
      SCRIPT,
      image.root,
      `${runAsUser}:${runAsGroup}`,
      String(fsGroup ?? runAsGroup),
      volumesFile,
      ...command,
    ],
    {
      cwd: '/',
      env: {
        PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        ...image.env,
        ...Object.fromEntries((container.env ?? []).map(({ name, value }) => [name, value ?? ''])),
      },
      logFile,
    },
  );
  return {
    ...started,
    logFile,
    async commandPid() {
      const children = `/proc/${started.pid}/task/${started.pid}/children`;
      return Number((await readFile(children, 'utf8')).trim());
    },
  };
}

/** Whether the probe succeeds: a status from 200 to 399, as for the kubelet. */
export async function probe(container: Container, { httpGet }: Probe): Promise<boolean> {
  if (httpGet === undefined) throw new Error('expected a probe by HTTP');
  const url = `http://127.0.0.1:${portOf(container, httpGet.port)}${httpGet.path}`;
  const response = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(5_000) });
  return response.status >= 200 && response.status < 400;
}
