import { readFile, readdir, readlink } from 'node:fs/promises';

/*
 * What Linux tells of a process's sockets, in /proc.
 */

/**
 * How many TCP sockets (IPv4) the process holds that are or were connected to this port; undefined where there is no
 * /proc.
 */
export async function connectionsTo(pid: number, port: number): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined;
  const own = new Set(await socketsOf(pid));
  const table = await readFile(`/proc/${pid}/net/tcp`, 'utf8');
  const remote = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return table
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , to, , , , , , , inode]) => to?.endsWith(remote) && own.has(inode ?? '')).length;
}

/** Memory that the process holds, in bytes; undefined where there is no /proc. */
export async function residentMemory(pid: number): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined;
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

/** Inodes. */
async function socketsOf(pid: number): Promise<string[]> {
  const directory = `/proc/${pid}/fd`;
  const inodes: string[] = [];
  for (const fd of await readdir(directory)) {
    // It may be closed since it was listed.
    const target = await readlink(`${directory}/${fd}`).catch(() => '');
    const [, inode] = /^socket:\[(\d+)\]$/.exec(target) ?? [];
    if (inode !== undefined) inodes.push(inode);
  }
  return inodes;
}
