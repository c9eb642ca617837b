import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { pythonEnv } from '../stack/python.ts';
import type { Inspected } from './inspect.ts';

/*
 * Google's runtime by its Python package: it is the one that MLflow parses with, upb beneath it is also that of Ruby and
 * PHP, and parses like C++. Google's package for JavaScript is kept alive without new work, needs code that protoc makes,
 * and does not look at UTF-8, nor at how deep groups are.
 */

export type SpanFacts = { readonly traceId: string; readonly isRoot: boolean; readonly isValid: boolean };

export type GoogleFacts =
  | { readonly accepted: false }
  | {
      readonly accepted: true;
      /** Of a body that the relay takes as well. */
      readonly details?: {
        readonly spans: readonly SpanFacts[];
        readonly cuts: readonly Comparison[];
        readonly json: Comparison;
      };
    };

export type Comparison = 'equal' | 'different' | 'not decodable';

export type Google = {
  /** In the order of the bodies. */
  ask(bodies: readonly Asked[]): Promise<GoogleFacts[]>;
  close(): Promise<void>;
};

/** Without `inspected`, only whether it is taken is asked. */
export type Asked = { readonly body: Uint8Array; readonly inspected?: Inspected };

const COMPARISONS: readonly Comparison[] = ['different', 'equal', 'not decodable'];
const NO_PARENT = 1;
const GOOD_IDS = 2;

/** The length of a batch or an answer. */
const HEADER_BYTES = 4;

/** Far above what a batch takes. */
const DEADLINE_MS = 60_000;

/** @param python an interpreter with protobuf and opentelemetry-proto */
export function startGoogle(python: string): Google {
  const child = spawn(python, [join(import.meta.dirname, 'google_peer.py')], {
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
    ask: async (bodies) => factsIn(await exchange(batchOf(bodies)), bodies),
    async close() {
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await exited;
      clearTimeout(timer);
    },
  };
}

function batchOf(bodies: readonly Asked[]): Buffer {
  const parts: Uint8Array[] = [];
  const number = (value: number) => {
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeUInt32LE(value);
    parts.push(bytes);
  };
  const withLength = (bytes: Uint8Array) => {
    number(bytes.length);
    parts.push(bytes);
  };
  for (const { body, inspected } of bodies) {
    withLength(body);
    if (inspected?.accepted !== true) {
      number(0);
      continue;
    }
    number(1);
    number(inspected.spanCount);
    number(inspected.cuts.length);
    for (const { kept, bytes } of inspected.cuts) {
      parts.push(kept);
      withLength(bytes);
    }
    withLength(inspected.fromJson);
  }
  return Buffer.concat(parts);
}

function factsIn(answer: Buffer, bodies: readonly Asked[]): GoogleFacts[] {
  let at = 0;
  const byte = () => answer.readUInt8(at++);
  const number = () => answer.readUInt32LE((at += 4) - 4);
  const facts = bodies.map(({ inspected }): GoogleFacts => {
    if (byte() === 0) return { accepted: false };
    if (inspected?.accepted !== true) return { accepted: true };
    const spans = Array.from({ length: number() }, (): SpanFacts => {
      const flags = byte();
      const length = number();
      const traceId = answer.toString('hex', at, (at += length));
      return { traceId, isRoot: (flags & NO_PARENT) !== 0, isValid: (flags & GOOD_IDS) !== 0 };
    });
    const cuts = inspected.cuts.map(() => COMPARISONS[byte()]!);
    return { accepted: true, details: { spans, cuts, json: COMPARISONS[byte()]! } };
  });
  if (at !== answer.length)
    throw new Error("the answer of Google's runtime is not of the form that was agreed");
  return facts;
}
