import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseDuration, parseSize } from '../../src/config/units.ts';
import { skipWithout } from '../e2e/support/skip.ts';
import { readDockerfile } from './dockerfile.ts';
import { K8S, buildManifests, portOf } from './manifests.ts';
import type { Manifests, Resource } from './manifests.ts';
import { ensureKubernetesTools } from './tools.ts';

/** With schemas of their own in kubernetes-validate; the last is the newest there. */
const VERSIONS = ['1.27', '1.30', '1.34', '1.37'] as const;
const LABELS = { 'app.kubernetes.io/name': 'mlflow-trace-relay' };

const execute = promisify(execFile);

type RelayConfig = {
  receiver: { listen: string };
  queue: { directory: string; max_size: string };
  admin: { listen: string };
  shutdown_timeout: string;
};
type Rule = { ports: { port: number | string; protocol: string }[]; from?: object[]; to?: object[] };
type NetworkPolicy = Resource & {
  spec: { podSelector: { matchLabels: object }; policyTypes: string[]; ingress: Rule[]; egress: Rule[] };
};

describe.skipIf(skipWithout('kubectl'))('the manifests', () => {
  let folder: string;
  let base: Manifests;
  let example: Manifests;
  let python: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'relay-k8s-'));
    // As a person does with the example: a copy, and the secret beside it.
    await cp(K8S, folder, { recursive: true });
    await writeFile(join(folder, 'overlays/example/client-secret'), 'from the issuer');
    base = await buildManifests(join(K8S, 'base'));
    example = await buildManifests(join(folder, 'overlays/example'));
    ({ python } = await ensureKubernetesTools());
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** Resolves to what kubernetes-validate says, or rejects with it. */
  function validate(version: string, ...files: readonly string[]): Promise<{ stdout: string }> {
    return execute(python, ['-m', 'kubernetes_validate', '--strict', '-k', version, ...files]);
  }

  /** Without cert-manager's Certificate, of which there is no schema. */
  async function writeBuilt(name: string, { yaml }: Manifests): Promise<{ file: string; count: number }> {
    const file = join(folder, `${name}.yaml`);
    const documents = yaml.split('\n---\n').filter((document) => !document.includes('kind: Certificate'));
    await writeFile(file, documents.join('\n---\n'));
    return { file, count: documents.length };
  }

  test.each(VERSIONS)('are what Kubernetes %s knows', async (version) => {
    const built = [await writeBuilt('base', base), await writeBuilt('example', example)];
    const { stdout } = await validate(version, ...built.map(({ file }) => file));
    expect(stdout.match(/ passed /g)).toHaveLength(6 + 6);
    expect(built.map(({ count }) => count)).toEqual([6, 6]);
  });

  test('a key that Kubernetes does not know is noticed', async () => {
    const wrong = { ...base, yaml: base.yaml.replace('podManagementPolicy', 'podManagmentPolicy') };
    const { file } = await writeBuilt('wrong', wrong);
    await expect(validate(VERSIONS[0], file)).rejects.toMatchObject({
      stdout: expect.stringContaining('podManagmentPolicy') as string,
    });
  });

  test('the base has one of each', () => {
    expect(base.resources.map(({ kind }) => kind).toSorted()).toEqual([
      'ConfigMap',
      'NetworkPolicy',
      'Secret',
      'Service',
      'ServiceAccount',
      'StatefulSet',
    ]);
    expect(base.pod.serviceAccountName).toBe(base.only('ServiceAccount').metadata.name);
    expect(base.statefulSet.spec.serviceName).toBe(base.only('Service').metadata.name);
  });

  test('Service, policy and StatefulSet mean the same pod', () => {
    const { spec } = base.statefulSet;
    expect(spec.template.metadata.labels).toEqual(LABELS);
    expect(spec.selector.matchLabels).toEqual(LABELS);
    expect(base.only<Resource & { spec: { selector: object } }>('Service').spec.selector).toEqual(LABELS);
    expect(base.only<NetworkPolicy>('NetworkPolicy').spec.podSelector.matchLabels).toEqual(LABELS);
  });

  test.each([
    ['base', () => base],
    ['example', () => example],
  ])('%s: ports of the configuration, the container, the Service and the probes are one', (_, manifests) => {
    const { container, statefulSet, only } = manifests();
    const { receiver, admin } = configOf(manifests());
    const service = only<Resource & { spec: { ports: { port: number; targetPort: string }[] } }>('Service');
    expect(receiver.listen).toBe(`0.0.0.0:${portOf(container, 'otlp-http')}`);
    expect(service.spec.ports.map(({ targetPort }) => targetPort)).toEqual(['otlp-http']);
    expect(service.spec.ports.map(({ port }) => port)).toEqual([4318]);
    const { startupProbe, livenessProbe, readinessProbe } = container;
    for (const probe of [startupProbe, livenessProbe, readinessProbe]) {
      expect(admin.listen).toBe(`0.0.0.0:${portOf(container, probe?.httpGet?.port ?? '')}`);
    }
    expect(startupProbe?.httpGet?.path).toBe('/livez');
    expect(livenessProbe?.httpGet?.path).toBe('/livez');
    expect(readinessProbe?.httpGet?.path).toBe('/readyz');
    expect(statefulSet.spec.template.metadata.annotations?.['prometheus.io/port']).toBe(
      String(portOf(container, 'admin')),
    );
  });

  test('one relay, which is stopped no sooner than it is ready for it, with a volume for its queue that stays', () => {
    const { shutdown_timeout, queue } = configOf(base);
    const { spec } = base.statefulSet;
    expect(spec.replicas).toBe(1);
    expect(base.pod.terminationGracePeriodSeconds! * 1000).toBeGreaterThanOrEqual(
      parseDuration(shutdown_timeout)! + 10_000,
    );
    const [claim] = spec.volumeClaimTemplates;
    const mount = base.container.volumeMounts?.find(({ name }) => name === claim?.metadata.name);
    expect(queue.directory.startsWith(`${mount?.mountPath}/`)).toBe(true);
    const storage = Number(/^(\d+)Gi$/.exec(claim?.spec.resources.requests.storage ?? '')?.[1]) * 2 ** 30;
    expect(storage).toBeGreaterThan(parseSize(queue.max_size)! * 1.25);
    expect(spec).toMatchObject({
      podManagementPolicy: 'Parallel',
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
    });
  });

  test('the policy opens the receiver to the cluster, the admin port to Prometheus, and the way out to DNS and 443', () => {
    const { policyTypes, ingress, egress } = base.only<NetworkPolicy>('NetworkPolicy').spec;
    expect(policyTypes).toEqual(['Ingress', 'Egress']);
    expect(ingress.map(({ ports }) => ports.map(({ port }) => port))).toEqual([['otlp-http'], ['admin']]);
    // An empty list, or none, would mean everybody.
    expect(ingress[0]?.from).toEqual([{ namespaceSelector: {} }]);
    expect(ingress[1]?.from).toEqual([
      {
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } },
        podSelector: { matchLabels: { 'app.kubernetes.io/name': 'prometheus' } },
      },
    ]);
    expect(egress.map(({ ports }) => ports.map(({ port, protocol }) => `${protocol} ${port}`))).toEqual([
      ['UDP 53', 'TCP 53'],
      ['TCP 443'],
    ]);
    expect(egress[0]?.to).toHaveLength(2);
    expect(example.only<NetworkPolicy>('NetworkPolicy').spec.egress).toHaveLength(3);
  });

  test('the container is that of the Dockerfile', async () => {
    const image = (await readDockerfile()).at(-1)!;
    const { version } = JSON.parse(await readFile(join(K8S, '../package.json'), 'utf8')) as {
      version: string;
    };
    const { container, pod } = base;
    expect(container.image).toBe(`mlflow-trace-relay:${version}`);
    expect(container.command).toBeUndefined();
    expect(container.args).toEqual(image.cmd);
    expect(image.exposed).toEqual(container.ports?.map(({ containerPort }) => containerPort));
    expect(image.user).toBe(`${pod.securityContext?.runAsUser}:${pod.securityContext?.runAsGroup}`);
    expect(example.container.image).toBe(`registry.example.com/mlflow-trace-relay:${version}`);
  });

  test('another configuration is another ConfigMap, and another secret is the same Secret', async () => {
    const overlay = join(folder, 'overlays/example');
    await writeFile(join(overlay, 'client-secret'), 'rotated');
    const rotated = await buildManifests(overlay);
    expect(rotated.statefulSet).toEqual(example.statefulSet);
    expect(rotated.only('Secret')).not.toEqual(example.only('Secret'));
    await writeFile(join(overlay, 'client-secret'), 'from the issuer');
    expect(configOf(example)).not.toEqual(configOf(base));
    expect(example.only('ConfigMap').metadata.name).not.toBe(base.only('ConfigMap').metadata.name);
  });

  test('the example brings no namespace, and its certificate names the Service in the one that it is for', () => {
    const kinds = new Set(example.resources.map(({ kind }) => kind));
    // Whoever deletes it would delete the queue.
    expect(kinds).not.toContain('Namespace');
    const namespaces = new Set(example.resources.map(({ metadata }) => metadata.namespace));
    expect(namespaces.size).toBe(1);
    const { name } = example.only('Service').metadata;
    const { spec } = example.only<Resource & { spec: { secretName: string; dnsNames: string[] } }>(
      'Certificate',
    );
    expect(spec.dnsNames).toContain(`${name}.${[...namespaces][0]}.svc`);
    expect(example.pod.volumes?.map(({ secret }) => secret?.secretName)).toContain(spec.secretName);
  });
});

function configOf(manifests: Manifests): RelayConfig {
  const volume = manifests.pod.volumes?.find(({ configMap }) => configMap !== undefined);
  return parse(manifests.filesOf(volume!)?.['relay.yaml'] ?? '') as RelayConfig;
}
