import { chmod, chown, mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Manifests, Volume } from './manifests.ts';

/*
 * Volumes as the kubelet lays them out. The files of a Secret or ConfigMap are links into `..data`, itself a link to
 * a folder of this version; a new version comes by one rename of that link.
 */

export type Owner = { uid: number; gid: number };

export type MountedVolume = { name: string; directory: string; mountPath: string; readOnly: boolean };

/**
 * A folder in `parent` for each volume that the container mounts.
 * @param elsewhere what Secrets hold that are not among the manifests, by their names
 * @param owner whoever owns files: root and the fsGroup; left out: this process
 */
export async function layOutVolumes(
  { pod, container, statefulSet, filesOf }: Manifests,
  parent: string,
  elsewhere: Record<string, Record<string, string>>,
  owner?: Owner,
): Promise<MountedVolume[]> {
  const mounted: MountedVolume[] = [];
  for (const { name, mountPath, readOnly = false } of container.volumeMounts ?? []) {
    const directory = join(parent, name);
    await mkdir(directory);
    const volume = pod.volumes?.find((candidate) => candidate.name === name);
    if (volume !== undefined) {
      const files = filesOf(volume) ?? elsewhere[volume.secret?.secretName ?? ''];
      if (files === undefined) throw new Error(`there is nothing for the volume ${name}`);
      await swapFiles(directory, files, modeOf(volume), owner);
    } else if (statefulSet.spec.volumeClaimTemplates.some(({ metadata }) => metadata.name === name)) {
      // As a file system begins, and as an fsGroup changes it.
      await mkdir(join(directory, 'lost+found'), { mode: 0o700 });
      await hand(directory, owner);
      await chmod(directory, 0o2775);
    } else {
      throw new Error(`nothing is mounted as ${name}`);
    }
    mounted.push({ name, directory, mountPath, readOnly });
  }
  return mounted;
}

/** Puts these files in place of what a volume holds, all at once. */
export async function swapFiles(
  volume: string,
  files: Record<string, string>,
  mode: number,
  owner?: Owner,
): Promise<void> {
  const before = (await readdir(volume)).filter((name) => name.startsWith('..') && name !== '..data');
  const version = await mkdtemp(join(volume, '..version_'));
  await chmod(version, 0o755);
  for (const [name, content] of Object.entries(files)) {
    const file = join(version, name);
    await writeFile(file, content);
    await chmod(file, mode);
    await hand(file, owner);
  }
  await symlink(basename(version), join(volume, '..data_tmp'));
  await rename(join(volume, '..data_tmp'), join(volume, '..data'));
  for (const name of Object.keys(files)) {
    await symlink(join('..data', name), join(volume, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
  for (const name of before) await rm(join(volume, name), { recursive: true });
}

/** The API's default where it is not given. */
export function modeOf({ secret }: Volume): number {
  return secret?.defaultMode ?? 0o644;
}

async function hand(path: string, owner: Owner | undefined): Promise<void> {
  if (owner !== undefined) await chown(path, owner.uid, owner.gid);
}
