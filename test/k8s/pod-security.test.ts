import { beforeAll, describe, expect, test } from 'vitest';
import { skipWithout } from '../e2e/support/skip.ts';
import { K8S, buildManifests } from './manifests.ts';
import type { Container, PodSpec } from './manifests.ts';
import { restrictedViolations } from './pod-security.ts';

describe.skipIf(skipWithout('kubectl'))('the Pod Security Standard "restricted"', () => {
  let pod: PodSpec;
  let container: Container;
  beforeAll(async () => {
    ({ pod, container } = await buildManifests(`${K8S}/base`));
  });

  /** The pod with this in its security context, in that of its container, and beside them. */
  function changed(change: {
    pod?: object;
    container?: object;
    podContext?: object;
    context?: object;
  }): PodSpec {
    return {
      ...pod,
      securityContext: { ...pod.securityContext, ...change.podContext },
      containers: [
        {
          ...container,
          securityContext: { ...container.securityContext, ...change.context },
          ...change.container,
        },
      ],
      ...change.pod,
    };
  }

  test('the pod keeps every control', () => {
    expect(restrictedViolations(pod)).toEqual([]);
  });

  test.each([
    ['host process', { podContext: { windowsOptions: { hostProcess: true } } }],
    ['host namespaces', { pod: { hostNetwork: true } }],
    ['host namespaces', { pod: { hostPID: true } }],
    ['privileged', { context: { privileged: true } }],
    ['capabilities', { context: { capabilities: { drop: ['KILL'] } } }],
    ['capabilities', { context: { capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } } }],
    ['capabilities', { context: { capabilities: undefined } }],
    ['host ports', { container: { ports: [{ containerPort: 4318, hostPort: 4318 }] } }],
    [
      'host of a probe or hook',
      { container: { livenessProbe: { httpGet: { host: 'elsewhere', path: '/', port: 1 } } } },
    ],
    ['apparmor', { podContext: { appArmorProfile: { type: 'Unconfined' } } }],
    ['selinux', { podContext: { seLinuxOptions: { type: 'spc_t' } } }],
    ['/proc mount', { context: { procMount: 'Unmasked' } }],
    ['sysctls', { podContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }] } }],
    ['volume types', { pod: { volumes: [{ name: 'host', hostPath: { path: '/' } }] } }],
    ['privilege escalation', { context: { allowPrivilegeEscalation: undefined } }],
    ['running as non-root', { podContext: { runAsNonRoot: undefined } }],
    ['running as non-root', { context: { runAsNonRoot: false } }],
    ['non-root user', { context: { runAsUser: 0 } }],
    ['seccomp', { podContext: { seccompProfile: { type: 'Unconfined' } } }],
    ['seccomp', { podContext: { seccompProfile: undefined } }],
  ])('a pod that breaks "%s" is noticed', (control, change) => {
    expect(restrictedViolations(changed(change))).toEqual([control]);
  });

  test('beyond the standard: read-only root, no token of the API, a user and group in numbers', () => {
    expect(container.securityContext).toMatchObject({ readOnlyRootFilesystem: true });
    expect(pod).toMatchObject({ automountServiceAccountToken: false, enableServiceLinks: false });
    expect(pod.securityContext).toMatchObject({ runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532 });
  });
});
