import type { Container, PodSpec } from './manifests.ts';

/*
 * The Pod Security Standards, profile "restricted": every control of it and of "baseline", for Linux.
 * https://kubernetes.io/docs/concepts/security/pod-security-standards/
 */

const VOLUMES = new Set([
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'persistentVolumeClaim',
  'projected',
  'secret',
]);
const SAFE_SYSCTLS = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
]);
const SELINUX_TYPES = new Set([
  '',
  'container_t',
  'container_init_t',
  'container_kvm_t',
  'container_engine_t',
]);

/** Names of the controls that the pod breaks; empty when an enforcing namespace would take it. */
export function restrictedViolations(pod: PodSpec): string[] {
  const containers = [...pod.containers, ...(pod.initContainers ?? [])];
  const contexts = [pod.securityContext ?? {}, ...containers.map((one) => one.securityContext ?? {})];
  /** What counts for a container: its own word, or else that of the pod. */
  const effective = (one: Container, key: string) => one.securityContext?.[key] ?? pod.securityContext?.[key];
  const inAny = (key: string, isBad: (value: never) => boolean) =>
    contexts.some((context) => context[key] !== undefined && isBad(context[key] as never));
  const inSome = (isBad: (one: Container) => boolean) => containers.some(isBad);

  const controls: Record<string, boolean> = {
    'host process': inAny(
      'windowsOptions',
      ({ hostProcess }: { hostProcess?: boolean }) => hostProcess === true,
    ),
    'host namespaces': ['hostNetwork', 'hostPID', 'hostIPC'].some((key) => pod[key] === true),
    privileged: inSome(({ securityContext }) => securityContext?.['privileged'] === true),
    capabilities: inSome(({ securityContext }) => {
      const { add = [], drop = [] } = securityContext?.capabilities ?? {};
      return !drop.includes('ALL') || add.some((name) => name !== 'NET_BIND_SERVICE');
    }),
    'host ports': inSome(({ ports = [] }) => ports.some(({ hostPort = 0 }) => hostPort !== 0)),
    'host of a probe or hook': inSome((one) => /"host":"[^"]/.test(JSON.stringify({ ...one, env: [] }))),
    apparmor: inAny('appArmorProfile', ({ type }: { type: string }) => type === 'Unconfined'),
    selinux: inAny(
      'seLinuxOptions',
      ({ type = '', user = '', role = '' }: Record<string, string>) =>
        !SELINUX_TYPES.has(type) || user !== '' || role !== '',
    ),
    '/proc mount': inAny('procMount', (type: string) => type !== 'Default'),
    sysctls: inAny('sysctls', (list: { name: string }[]) => list.some(({ name }) => !SAFE_SYSCTLS.has(name))),
    'volume types': (pod.volumes ?? []).some(
      ({ name: _name, ...kinds }) => !Object.keys(kinds).every((kind) => VOLUMES.has(kind)),
    ),
    'privilege escalation': inSome(
      ({ securityContext }) => securityContext?.['allowPrivilegeEscalation'] !== false,
    ),
    'running as non-root':
      inAny('runAsNonRoot', (value: boolean) => !value) ||
      inSome((one) => effective(one, 'runAsNonRoot') !== true),
    'non-root user': inAny('runAsUser', (uid: number) => uid === 0),
    seccomp: inSome((one) => {
      const profile = effective(one, 'seccompProfile') as { type?: string } | undefined;
      return !['RuntimeDefault', 'Localhost'].includes(profile?.type ?? '');
    }),
  };
  return Object.keys(controls).filter((name) => controls[name]);
}
