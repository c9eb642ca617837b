import { resolve } from 'node:path';
import { ensureVirtualEnvironment } from '../stack/python.ts';
import type { PythonEnvironment } from '../stack/python.ts';

/** kubernetes-validate with the schemas of many versions of Kubernetes, and hadolint. */
export function ensureKubernetesTools(): Promise<PythonEnvironment> {
  return ensureVirtualEnvironment(resolve(import.meta.dirname, '../stack/requirements-kubernetes.txt'), {
    what: 'kubernetes-validate and hadolint',
  });
}
