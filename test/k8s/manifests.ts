import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';

/** The folder with base and overlays. */
export const K8S = resolve(import.meta.dirname, '../../k8s');

/** As much of the Kubernetes API as is looked at here. */
export type Probe = {
  httpGet?: { path: string; port: number | string; host?: string; scheme?: string };
  periodSeconds?: number;
  failureThreshold?: number;
};
export type SecurityContext = Record<string, unknown> & {
  capabilities?: { add?: string[]; drop?: string[] };
};
export type Container = {
  name: string;
  image: string;
  command?: string[];
  args?: string[];
  env?: { name: string; value?: string }[];
  ports?: { name?: string; containerPort: number; hostPort?: number }[];
  startupProbe?: Probe;
  livenessProbe?: Probe;
  readinessProbe?: Probe;
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> };
  securityContext?: SecurityContext;
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[];
};
export type Volume = {
  name: string;
  configMap?: { name: string };
  secret?: { secretName: string; defaultMode?: number };
  [kind: string]: unknown;
};
export type PodSpec = Record<string, unknown> & {
  containers: Container[];
  initContainers?: Container[];
  serviceAccountName?: string;
  terminationGracePeriodSeconds?: number;
  securityContext?: SecurityContext & {
    runAsUser?: number;
    runAsGroup?: number;
    fsGroup?: number;
  };
  volumes?: Volume[];
};
export type Resource = {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
};
export type StatefulSet = Resource & {
  spec: {
    replicas: number;
    serviceName: string;
    selector: { matchLabels: Record<string, string> };
    template: {
      metadata: { labels: Record<string, string>; annotations?: Record<string, string> };
      spec: PodSpec;
    };
    volumeClaimTemplates: {
      metadata: { name: string };
      spec: { resources: { requests: { storage: string } } };
    }[];
  };
};

/** What `kubectl apply -k` would send, and the parts of it that tests look at. */
export type Manifests = {
  readonly yaml: string;
  readonly resources: readonly Resource[];
  readonly statefulSet: StatefulSet;
  readonly pod: PodSpec;
  /** The one container of the pod. */
  readonly container: Container;
  /** The one of this kind. */
  only<T extends Resource>(kind: string): T;
  /** The data of a ConfigMap or Secret, as the files that they become; undefined where it is made elsewhere. */
  filesOf(volume: Volume): Record<string, string> | undefined;
};

/** Runs `kubectl kustomize`. */
export async function buildManifests(directory: string): Promise<Manifests> {
  const { stdout } = await promisify(execFile)('kubectl', ['kustomize', directory], { timeout: 60_000 });
  const resources = parseAllDocuments(stdout).map((document) => document.toJS() as Resource);

  function only<T extends Resource>(kind: string): T {
    const [found, ...more] = resources.filter((resource) => resource.kind === kind);
    if (found === undefined || more.length > 0) throw new Error(`expected one ${kind}`);
    return found as T;
  }

  function filesOf({ configMap, secret }: Volume): Record<string, string> | undefined {
    const kind = configMap === undefined ? 'Secret' : 'ConfigMap';
    const name = configMap?.name ?? secret?.secretName;
    const source = resources.find((resource) => resource.kind === kind && resource.metadata.name === name);
    const data = (source as { data?: Record<string, string> } | undefined)?.data;
    if (data === undefined || kind === 'ConfigMap') return data;
    return Object.fromEntries(
      Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]),
    );
  }

  const statefulSet = only<StatefulSet>('StatefulSet');
  const pod = statefulSet.spec.template.spec;
  const [container, ...others] = pod.containers;
  if (container === undefined || others.length > 0) throw new Error('expected one container');
  return { yaml: stdout, resources, statefulSet, pod, container, only, filesOf };
}

/** The port that a probe or Service means by a number, or by the name of a port of the container. */
export function portOf({ ports = [] }: Container, port: number | string): number {
  if (typeof port === 'number') return port;
  const named = ports.find(({ name }) => name === port);
  if (named === undefined) throw new Error(`the container has no port ${port}`);
  return named.containerPort;
}
