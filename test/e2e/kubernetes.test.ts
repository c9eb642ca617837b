import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { probe, skipWithoutMounts, startContainer } from '../k8s/container.ts';
import type { RunningContainer } from '../k8s/container.ts';
import { buildImage } from '../k8s/image.ts';
import type { Image } from '../k8s/image.ts';
import { K8S, buildManifests, portOf } from '../k8s/manifests.ts';
import type { Manifests } from '../k8s/manifests.ts';
import { layOutVolumes, swapFiles } from '../k8s/volumes.ts';
import type { MountedVolume } from '../k8s/volumes.ts';
import type { ClientFiles } from '../stack/otlp-client.ts';
import { StackError, freePort, waitFor } from '../stack/processes.ts';
import { expectStored } from './support/compare.ts';
import { DEADLINE_MS, clientFiles } from './support/relay.ts';
import type { DestinationStatus } from './support/relay.ts';
import { findSecrets, pemSecrets } from './support/secrets.ts';
import { createSender } from './support/sender.ts';
import { skipWithout } from './support/skip.ts';
import { SENDER, useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf } from './support/traces.ts';

/*
 * The pod of the built manifests, from the image of the Dockerfile, as processes of this machine: its command, user,
 * volumes, read-only root and probes. Not here: what only a cluster has (Services, policies, limits, seccomp), and the base
 * images of the Dockerfile, in whose place this machine's own Node and libraries stand.
 */

const OUTDATED_SECRET = 'the secret of before';

describe.skipIf(skipWithout('kubectl') || skipWithoutMounts())('the pod', () => {
  let folder: string;
  let stack: Stack;
  let experiment: string;
  let image: Image;
  let manifests: Manifests;
  let volumes: MountedVolume[];
  let running: RunningContainer;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'relay-pod-'));
    stack = await useSharedStack();
    experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
    image = await buildImage(await makeFolder('image'));
    manifests = await buildManifests(await writeOverlay());
    const { fsGroup = 0 } = manifests.pod.securityContext ?? {};
    const tls = { 'mlflow-trace-relay-tls': await tlsFiles() };
    volumes = await layOutVolumes(manifests, await makeFolder('volumes'), tls, { uid: 0, gid: fsGroup });
    running = await startContainer(manifests, image, volumes, folder);
  });

  afterAll(async () => {
    await running?.stop('SIGKILL', 0);
    await stack?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function makeFolder(name: string): Promise<string> {
    const path = join(folder, name);
    await mkdir(path);
    return path;
  }

  /** What a user writes, and ports of this machine that nobody else has. */
  async function writeOverlay(): Promise<string> {
    const overlay = await makeFolder('overlay');
    const [otlp, admin] = [await freePort(), await freePort()];
    const base = join(K8S, 'base');
    const relay = await readFile(join(base, 'relay.yaml'), 'utf8');
    const settings = {
      '0.0.0.0:4318': `127.0.0.1:${otlp}`,
      '0.0.0.0:9464': `127.0.0.1:${admin}`,
      'https://mlflow.example.com': stack.mlflowUrl,
      'https://keycloak.example.com/realms/mlflow': stack.issuer,
      'otel-relay': stack.client.clientId,
      '{ name: traces }': `{ id: '${experiment}' }`,
      'spiffe://cluster.local/ns/observability/sa/*': SENDER.replace(/[^/]*$/, '*'),
    };
    let changed = relay;
    for (const [placeholder, value] of Object.entries(settings)) {
      expect(changed).toContain(placeholder);
      changed = changed.replace(placeholder, value);
    }
    await writeFile(join(overlay, 'relay.yaml'), changed);
    await writeFile(join(overlay, 'client-secret'), OUTDATED_SECRET);
    const kustomization = {
      resources: [relative(overlay, base)],
      configMapGenerator: [{ name: 'mlflow-trace-relay', behavior: 'replace', files: ['relay.yaml'] }],
      secretGenerator: [{ name: 'mlflow-trace-relay-client', behavior: 'replace', files: ['client-secret'] }],
      patches: [
        { target: { kind: 'StatefulSet' }, patch: stringify([portPatch(0, otlp), portPatch(1, admin)]) },
      ],
    };
    await writeFile(join(overlay, 'kustomization.yaml'), stringify(kustomization));
    return overlay;
  }

  /** As cert-manager makes them, by the CA that signs the clients too. */
  async function tlsFiles(): Promise<Record<string, string>> {
    const { ca } = stack.certificates;
    const { certPem, keyPem } = await ca.issue({
      commonName: 'mlflow-trace-relay',
      dnsNames: ['mlflow-trace-relay'],
      ips: ['127.0.0.1'],
      usage: 'server',
    });
    return { 'tls.crt': certPem, 'tls.key': keyPem, 'ca.crt': ca.certPem };
  }

  /** A new version of the Secret that is mounted so. */
  async function rotate(name: string, files: Record<string, string>): Promise<void> {
    const volume = volumes.find((candidate) => candidate.name === name)!;
    const mode = manifests.pod.volumes?.find((candidate) => candidate.name === name)?.secret?.defaultMode;
    const gid = manifests.pod.securityContext?.fsGroup ?? 0;
    await swapFiles(volume.directory, files, mode!, { uid: 0, gid });
  }

  const adminUrl = () => `http://127.0.0.1:${portOf(manifests.container, 'admin')}`;
  const url = () => `https://127.0.0.1:${portOf(manifests.container, 'otlp-http')}`;
  const read = async (path: string) => (await fetch(adminUrl() + path)).text();

  async function waitForDestination(isWanted: (status: DestinationStatus) => boolean): Promise<void> {
    await waitFor('the destination was not as wanted', DEADLINE_MS, async () => {
      const { destinations } = JSON.parse(await read('/status')) as {
        destinations: { mlflow: DestinationStatus };
      };
      return isWanted(destinations.mlflow) || undefined;
    });
  }

  test('the image has the relay, and nothing that only built it', async () => {
    const installed = await readdir(join(image.root, 'app/node_modules'));
    expect(installed).toContain('fastify');
    const tools = ['typescript', 'vitest', 'prettier', 'oidc-provider', '.bin/tsc'];
    expect(tools.filter((name) => existsSync(join(image.root, 'app/node_modules', name)))).toEqual([]);
    expect((await readdir(join(image.root, 'app'))).toSorted()).toEqual([
      'LICENSE',
      'config',
      'dist',
      'node_modules',
      'package.json',
      'proto',
    ]);
  });

  test('starts, and then each probe succeeds', async () => {
    const { container } = manifests;
    const { startupProbe, readinessProbe, livenessProbe } = container;
    const patience = (startupProbe?.periodSeconds ?? 0) * (startupProbe?.failureThreshold ?? 0) * 1000;
    await waitFor('the pod did not start', Math.min(patience, DEADLINE_MS), async () => {
      if (running.hasExited()) throw new StackError(`the pod ended: ${running.tail(20)}`);
      return (await probe(container, startupProbe!)) || undefined;
    });
    expect(await probe(container, livenessProbe!)).toBe(true);
    expect(await probe(container, readinessProbe!)).toBe(true);
  });

  test('runs as nobody in particular, alone, and can write to its volume only', async () => {
    const pid = await running.commandPid();
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const { runAsUser, runAsGroup } = manifests.pod.securityContext ?? {};
    expect(runAsUser).toBeGreaterThan(0);
    const field = (name: string) => new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(status)?.[1]?.trim();
    expect(field('Uid')).toBe(Array(4).fill(runAsUser).join('\t'));
    expect(field('Gid')).toBe(Array(4).fill(runAsGroup).join('\t'));
    expect(field('CapEff')).toBe('0000000000000000');
    expect(field('NoNewPrivs')).toBe('1');
    expect(field('NSpid')).toBe(`${pid}\t1`);
    const mounts = (await readFile(`/proc/${pid}/mountinfo`, 'utf8')).trim().split('\n');
    const writable = mounts
      .map((line) => line.split(' '))
      .filter(
        ([, , , , path = '', options = '']) => options.startsWith('rw') && !/^\/(proc|dev)\b/.test(path),
      )
      .map(([, , , , path]) => path);
    expect(writable).toEqual(['/var/lib/mlflow-trace-relay']);
    const queue = volumes.find(({ name }) => name === 'queue')!.directory;
    expect((await readdir(queue)).toSorted()).toEqual(['lost+found', 'queue']);
    expect((await stat(join(queue, 'queue'))).uid).toBe(runAsUser);
  });

  test('takes a trace over mutual TLS, and delivers it when the outdated secret was rotated', async () => {
    const sender = await createSender(url(), clientFiles(stack));
    const traces = [makeTrace(), makeTrace(3)];
    for (const { spans } of traces) await sender.send(requestOf(spans));
    await sender.close();
    await waitForDestination(({ state, waiting_spans }) => state === 'blocked' && waiting_spans === 5);
    // Others can do their work no better: an issuer that refuses is no reason to be taken out of service.
    expect(await probe(manifests.container, manifests.container.readinessProbe!)).toBe(true);

    await rotate('client', { 'client-secret': stack.client.secret });
    await waitForDestination(({ state, waiting_spans }) => state === 'up' && waiting_spans === 0);
    await expectStored(stack.mlflow, experiment, traces);
  });

  test('shows the new certificate when the one of before was rotated', async () => {
    const before = await fingerprint(url(), clientFiles(stack));
    const files = await tlsFiles();
    await rotate('tls', files);
    const now = await waitFor('the certificate was the same', DEADLINE_MS, async () => {
      const shown = await fingerprint(url(), clientFiles(stack));
      return shown === before ? undefined : shown;
    });
    expect(now).toBe(new X509Certificate(files['tls.crt'] ?? '').fingerprint256);
  });

  test('says no secret', async () => {
    const outputs = { 'the log': await readFile(running.logFile, 'utf8') } as Record<string, string>;
    for (const path of ['/metrics', '/status', '/readyz', '/livez']) outputs[path] = await read(path);
    const key = await readFile(
      join(volumes.find(({ name }) => name === 'tls')!.directory, 'tls.key'),
      'utf8',
    );
    const secrets = { before: OUTDATED_SECRET, now: stack.client.secret, ...pemSecrets('the key', key) };
    expect(findSecrets(outputs, secrets)).toEqual([]);
  });

  test('ends with 0 in its grace period, first of its processes as it is', async () => {
    const grace = manifests.pod.terminationGracePeriodSeconds!;
    expect(await running.stop('SIGTERM', grace * 1000)).toEqual({ code: 0, signal: null });
    expect(await readFile(running.logFile, 'utf8')).toContain('relay stopped');
  });
});

/** As an entry of a JSON patch: another number for a port of the container. */
function portPatch(index: number, value: number): object {
  const path = `/spec/template/spec/containers/0/ports/${index}/containerPort`;
  return { op: 'replace', path, value };
}

/** Of the certificate that a new connection is shown. */
async function fingerprint(url: string, files: Required<ClientFiles>): Promise<string | undefined> {
  const [ca, cert, key] = await Promise.all(
    [files.caFile, files.certFile, files.keyFile].map((file) => readFile(file)),
  );
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), ca, cert, key });
  try {
    await once(socket, 'secureConnect');
    return socket.getPeerX509Certificate()?.fingerprint256;
  } finally {
    socket.destroy();
  }
}
