import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { loadDestinations } from '../../src/config/load.ts';
import { relayEndpoint } from '../../src/inject/relay-endpoint.ts';
import { skipWithout } from '../e2e/support/skip.ts';
import { PROJECT, readDockerfile } from './dockerfile.ts';
import { K8S, buildManifests } from './manifests.ts';
import type { Container, Manifests, PodSpec, Resource } from './manifests.ts';
import { restrictedViolations } from './pod-security.ts';
import { ensureKubernetesTools } from './tools.ts';

type Job = Resource & { spec: { template: { spec: PodSpec } } };

const execute = promisify(execFile);

describe.skipIf(skipWithout('kubectl'))('the Job that injects a trace', () => {
  let folder: string;
  let yaml: string;
  let kinds: string[];
  let relay: Manifests;
  let job: Job;
  let config: { data: Record<string, string> };
  let container: Container;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'relay-job-'));
    ({ stdout: yaml } = await execute('kubectl', ['kustomize', join(K8S, 'inject')]));
    relay = await buildManifests(join(K8S, 'base'));
    const resources = parseAllDocuments(yaml).map((document) => document.toJS() as Resource);
    kinds = resources.map(({ kind }) => kind).toSorted();
    const only = (kind: string) => resources.find((resource) => resource.kind === kind) as unknown;
    job = only('Job') as Job;
    config = only('ConfigMap') as typeof config;
    container = job.spec.template.spec.containers[0]!;
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each(['1.27', '1.37'])('is what Kubernetes %s knows', async (version) => {
    const file = join(folder, 'job.yaml');
    const documents = yaml.split('\n---\n').filter((document) => !document.includes('kind: Certificate'));
    await writeFile(file, documents.join('\n---\n'));
    expect(kinds).toEqual(['Certificate', 'ConfigMap', 'Job']);
    const { python } = await ensureKubernetesTools();
    const { stdout } = await execute(python, ['-m', 'kubernetes_validate', '--strict', '-k', version, file]);
    expect(stdout.match(/ passed /g)).toHaveLength(2);
  });

  test('keeps every control of "restricted", with the image and user of the relay', async () => {
    const pod = job.spec.template.spec;
    expect(restrictedViolations(pod)).toEqual([]);
    expect(container.securityContext).toMatchObject({ readOnlyRootFilesystem: true });
    const { user } = (await readDockerfile()).at(-1)!;
    expect(user).toBe(`${pod.securityContext?.runAsUser}:${pod.securityContext?.runAsGroup}`);
    const [, tag] = relay.container.image.split(':');
    expect(container.image).toBe(`registry.example.com/mlflow-trace-relay:${tag}`);
  });

  test('asks the Service of the relay, with the Secret of the relay and one of its own', () => {
    const secrets = (job.spec.template.spec.volumes ?? []).flatMap(({ secret }) => secret?.secretName ?? []);
    expect(secrets).toContain(relay.only('Secret').metadata.name);
    const endpoint = container.env?.find(({ name }) => name === 'OTEL_EXPORTER_OTLP_ENDPOINT')?.value;
    expect(endpoint).toBe(`https://${relay.only('Service').metadata.name}:4318`);
  });

  test('has a command line, variables and a configuration that inject takes', async () => {
    const mounts = container.volumeMounts ?? [];
    const local = (text: string) =>
      mounts.reduce((now, { mountPath }) => now.replaceAll(`${mountPath}/`, `${folder}${mountPath}/`), text);
    const yamlFile = local(config.data['relay.yaml'] ?? '');
    const variables = Object.fromEntries(
      (container.env ?? []).map(({ name, value = '' }) => [name, local(value)]),
    );
    const named = [...yamlFile.matchAll(/_file: (\/[^ }\n]+)/g)].map(([, path = '']) => path);
    for (const path of [...named, ...Object.values(variables).filter((value) => value.startsWith(folder))]) {
      expect(path.startsWith(folder)).toBe(true);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, 'x', { mode: 0o600 });
    }
    const args = (container.args ?? []).map(local);
    const file = args[args.indexOf('--config') + 1]!;
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, yamlFile);

    expect(relayEndpoint({}, variables).tls).toMatchObject({ certFile: expect.stringContaining('tls.crt') });
    expect(Object.keys(loadDestinations(file, {}))).toEqual(
      Object.keys(
        (parse(await readFile(join(K8S, 'overlays/example/relay.yaml'), 'utf8')) as { destinations: object })
          .destinations,
      ),
    );
    // Everything is right but the certificates, which are none.
    const run = execute(process.execPath, [join(PROJECT, 'src/main.ts'), ...args], {
      env: { ...process.env, ...variables },
    });
    await expect(run).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining('code: CERTIFICATE_INVALID') as string,
    });
  });
});
