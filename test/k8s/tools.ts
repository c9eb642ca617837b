import { resolve } from 'node:path';
import { ensureVirtualEnvironment } from '../stack/python.ts';
import type { PythonEnvironment } from '../stack/python.ts';

/** For hooks that install them. */
export const INSTALL_LIMIT_MS = 10 * 60_000;

/** kubernetes-validate with the schemas of many versions of Kubernetes, and hadolint. */
export function ensureKubernetesTools(): Promise<PythonEnvironment> {
  return ensureVirtualEnvironment(resolve(import.meta.dirname, '../stack/requirements-kubernetes.txt'), {
    what: 'kubernetes-validate and hadolint',
  });
}
