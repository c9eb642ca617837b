import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { freePort, startProcess } from '../../stack/processes.ts';
import { createService } from '../../stack/service.ts';
import type { Service } from '../../stack/service.ts';

const MAIN = join(import.meta.dirname, '../../../dist/main.js');

/** What touches files and sockets on the way from a request to its answer. */
const CALLS =
  'openat,creat,rename,unlink,fsync,fdatasync,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendfile';

/** How much of each buffer is written down. */
const BYTES = 128;

export type TracedRelay = Service & {
  readonly port: number;
  readonly segments: string;
  readonly traceFile: string;
};

/** The built relay under strace, without TLS so that its answers can be read; not started yet. */
export async function createTracedRelay(
  directory: string,
  { upstream, queueSize }: { upstream: string; queueSize: string },
): Promise<TracedRelay> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const [port, adminPort] = [await freePort(), await freePort()];
  const configFile = join(directory, 'relay.yaml');
  const traceFile = join(directory, 'trace');
  const logFile = join(directory, 'relay.log');
  const config = {
    receiver: { listen: `127.0.0.1:${port}`, plaintext: true, max_request_body_size: '256KiB' },
    queue: { directory: 'queue', max_size: queueSize },
    destinations: {
      mlflow: { kind: 'mlflow', url: upstream, experiment: { id: '1' }, auth: { kind: 'none' } },
    },
    admin: { listen: `127.0.0.1:${adminPort}` },
  };
  await writeFile(configFile, stringify(config), { mode: 0o600 });
  const strace = ['-f', '--seccomp-bpf', '-yy', '-s', String(BYTES), '-e', `trace=${CALLS}`, '-o', traceFile];
  const service = createService({
    name: 'the relay under strace',
    launch: () =>
      startProcess('strace', [...strace, process.execPath, MAIN, 'run', '--config', configFile], {
        cwd: directory,
        env: process.env,
        logFile,
      }),
    logFile,
    healthUrl: `http://127.0.0.1:${adminPort}/readyz`,
    readyDeadlineMs: 60_000,
    stopDeadlineMs: 60_000,
  });
  return { ...service, port, segments: join(directory, 'queue', 'segments'), traceFile };
}
