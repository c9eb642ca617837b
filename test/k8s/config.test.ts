import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { skipWithout } from '../e2e/support/skip.ts';
import { PROJECT } from './dockerfile.ts';
import { K8S, buildManifests } from './manifests.ts';
import { layOutVolumes } from './volumes.ts';

const TLS = { 'mlflow-trace-relay-tls': { 'tls.crt': 'x', 'tls.key': 'x', 'ca.crt': 'x' } };

describe.skipIf(skipWithout('kubectl'))('the configuration in the ConfigMap', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'relay-k8s-'));
    await cp(K8S, join(folder, 'k8s'), { recursive: true });
    await writeFile(join(folder, 'k8s/overlays/example/client-secret'), 'from the issuer');
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** With the volumes of the pod laid out, `config check` by the argument of its container. */
  async function check(directory: string, elsewhere = TLS): Promise<{ code: number | null; output: string }> {
    const manifests = await buildManifests(join(folder, 'k8s', directory));
    const volumes = await layOutVolumes(manifests, await mkdtemp(join(folder, 'volumes-')), elsewhere);
    const local = (text: string) =>
      volumes.reduce((now, volume) => now.replaceAll(`${volume.mountPath}/`, `${volume.directory}/`), text);
    const file = local(manifests.container.args?.at(-1) ?? '');
    const written = local(await readFile(file, 'utf8'));
    // No path is left that is not of a volume.
    expect(written).not.toMatch(/_file: \/(etc|run|var)\//);
    await writeFile(file, written);
    return new Promise((resolve) => {
      const args = [join(PROJECT, 'src/main.ts'), 'config', 'check', '--config', file];
      execFile(process.execPath, args, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
      );
    });
  }

  test('of the example is valid, with every file where it is mounted', async () => {
    expect(await check('overlays/example')).toMatchObject({
      code: 0,
      output: expect.stringContaining('valid') as string,
    });
  });

  test('of the base is as well, but for the client secret, which is not there yet', async () => {
    const { code, output } = await check('base');
    expect(code).not.toBe(0);
    expect(output).toMatch(/client_secret_file: .* is empty/);
    expect(output.match(/relay\.yaml:\d+:\d+/g)).toHaveLength(1);
  });

  test('names files that the Secret of cert-manager has', async () => {
    const { code, output } = await check('overlays/example', {
      'mlflow-trace-relay-tls': { 'tls.crt': 'x', 'tls.key': 'x' } as (typeof TLS)['mlflow-trace-relay-tls'],
    });
    expect(code).not.toBe(0);
    expect(output).toContain('client_ca_file');
  });
});
