import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { pythonEnv } from '../stack/python.ts';

/** A program in Python that answers batches of bytes, one after the other. */
export type Peer = {
  exchange(batch: Buffer): Promise<Buffer>;
  close(): Promise<void>;
};

/** The length of a batch or an answer. */
const HEADER_BYTES = 4;

/** Far above what a batch takes. */
const DEADLINE_MS = 60_000;

/**
 * @param python an interpreter with what the script needs
 * @param script in this folder
 */
export function startPeer(python: string, script: string): Peer {
  const child = spawn(python, [join(import.meta.dirname, script)], {
    env: pythonEnv(),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  exited.catch(() => {});
  const waiting: ((answer: Buffer | Error) => void)[] = [];
  let chunks: Buffer[] = [];
  let size = 0;
  let needed = HEADER_BYTES;

  function fail(error: Error): void {
    for (const settle of waiting.splice(0)) settle(error);
  }
  child.on('error', fail);
  child.on('exit', (code, signal) => fail(new Error(`Google's runtime has ended (${signal ?? code})`)));
  // Whoever waits hears of it by the exit.
  child.stdin.on('error', () => {});
  child.stdout.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    while (size >= needed) {
      const all = Buffer.concat(chunks);
      const end = HEADER_BYTES + all.readUInt32LE(0);
      chunks = [all];
      needed = end;
      if (size < end) return;
      chunks = [all.subarray(end)];
      size -= end;
      needed = HEADER_BYTES;
      waiting.shift()?.(all.subarray(HEADER_BYTES, end));
    }
  });

  function exchange(batch: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        fail(new Error(`Google's runtime did not answer within ${DEADLINE_MS / 1000} s`));
        child.kill('SIGKILL');
      }, DEADLINE_MS);
      waiting.push((answer) => {
        clearTimeout(timer);
        if (answer instanceof Error) reject(answer);
        else resolve(answer);
      });
      const length = Buffer.alloc(4);
      length.writeUInt32LE(batch.length);
      child.stdin.write(length);
      child.stdin.write(batch);
    });
  }

  return {
    exchange,
    async close() {
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await exited;
      clearTimeout(timer);
    },
  };
}
