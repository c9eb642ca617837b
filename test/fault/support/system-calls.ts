import { readFile } from 'node:fs/promises';

/*
 * What strace has written of a process: its system calls in the order in which they began and ended.
 */

/** `began` and `ended` are lines of the trace: what ended on an earlier line than another began was over by then. */
export type SystemCall = {
  readonly name: string;
  /** As strace prints them. */
  readonly args: string;
  /** As strace prints it, as in "0" or "-1 ENOENT (No such file or directory)". */
  readonly result: string;
  readonly began: number;
  readonly ended: number;
};

/** For `strace -f -yy -o FILE`: every descriptor comes with its file or socket. */
export async function readSystemCalls(file: string): Promise<SystemCall[]> {
  const calls: SystemCall[] = [];
  /** By thread: a call that others went on beside. */
  const unfinished = new Map<string, { name: string; args: string; began: number }>();
  const lines = (await readFile(file, 'latin1')).split('\n');
  for (const [line, text] of lines.entries()) {
    const [, thread = '', what = ''] = /^(\d+) +(.*)$/s.exec(text) ?? [];
    const [, begun, args] = /^(\w+)\((.*) <unfinished \.\.\.>$/s.exec(what) ?? [];
    if (begun !== undefined && args !== undefined) {
      unfinished.set(thread, { name: begun, args, began: line });
      continue;
    }
    const [, resumed, rest] = /^<\.\.\. (\w+) resumed>(.*)$/s.exec(what) ?? [];
    const open = resumed === undefined ? undefined : unfinished.get(thread);
    if (open !== undefined) unfinished.delete(thread);
    const whole = open === undefined ? what : `${open.name}(${open.args}${rest ?? ''}`;
    // The last " = ": data may hold others.
    const [, name, all, result] = /^(\w+)\((.*)\) += ([^=]*)$/s.exec(whole) ?? [];
    if (name === undefined || all === undefined || result === undefined) continue; // a signal, an exit
    calls.push({ name, args: all, result, began: open?.began ?? line, ended: line });
  }
  return calls;
}

/** The file of a call whose first argument is a descriptor, as in `7</var/queue/file>, …`. */
export function fileOf({ args }: SystemCall): string | undefined {
  return /^\d+<([^>]*)>/.exec(args)?.[1];
}

/** The port at the other end, of a call on a TCP connection. */
export function peerPortOf({ args }: SystemCall): number | undefined {
  const port = /^\d+<TCP(?:v6)?:\[.*?->.*?:(\d+)\]>/.exec(args)?.[1];
  return port === undefined ? undefined : Number(port);
}
