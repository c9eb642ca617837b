import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StoredSpan } from '../stack/mlflow-client.ts';
import { clientFiles, startTestRelay, temporaryFolder } from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { asStored, inOrder, makeTrace, requestOf, toProtobuf } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

let stack: Stack;
let relay: TestRelay;
const cleanUps: (() => Promise<void>)[] = [];
beforeAll(async () => {
  stack = await useSharedStack();
  cleanUps.push(() => stack.stop());
  relay = await startTestRelay(stack, {}, (finish) => cleanUps.push(finish));
});
afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
});

function traceWithEverything(): TestTrace {
  const other = { traceId: randomBytes(16).toString('hex'), spanId: randomBytes(8).toString('hex') };
  const more: Partial<StoredSpan> = {
    attributes: {
      text: 'Grüße, 世界 🌍',
      empty: '',
      yes: true,
      no: false,
      small: -1,
      large: 2n ** 63n - 1n,
      double: 0.1,
      list: ['a', 1, 2.5, false, ['nested']],
      map: { inner: { list: [1, 2], text: 'x' } },
    },
    events: [
      { name: 'first', time: 1_700_000_000_000_000_003n, attributes: { index: 0, scores: [0.25, 0.75] } },
      { name: 'second', time: 1_700_000_000_000_000_004n, attributes: {} },
    ],
    links: [{ ...other, attributes: { reason: 'retry' } }],
    status: { code: 'STATUS_CODE_ERROR', message: 'did not work' },
  };
  return makeTrace(3, more);
}

const ENCODINGS = [
  ['protobuf', 'application/x-protobuf', toProtobuf],
  ['JSON', 'application/json', (request: object) => Buffer.from(JSON.stringify(request))],
] as const;

for (const [name, contentType, encode] of ENCODINGS) {
  for (const compression of ['plain', 'gzip'] as const) {
    test(`curl sends ${name}, ${compression}`, async () => {
      const trace = traceWithEverything();
      const plain = encode(requestOf(trace.spans));
      const directory = await temporaryFolder();
      const files = { body: join(directory, 'body'), answer: join(directory, 'answer') };
      await writeFile(files.body, compression === 'gzip' ? gzipSync(plain) : plain);

      const { caFile, certFile, keyFile } = clientFiles(stack);
      const { stdout } = await promisify(execFile)(
        'curl',
        [
          '--silent --show-error --max-time 30'.split(' '),
          ['--cacert', caFile, '--cert', certFile, '--key', keyFile],
          ['--header', `content-type: ${contentType}`],
          compression === 'gzip' ? ['--header', 'content-encoding: gzip'] : [],
          ['--data-binary', `@${files.body}`, '--output', files.answer],
          ['--write-out', '%{http_code} %{content_type} %{size_download}'],
          `${relay.url}/v1/traces`,
        ].flat(),
      );

      // An ExportTraceServiceResponse without partial_success: empty, or {} in JSON.
      expect(stdout).toBe(`200 ${contentType} ${name === 'JSON' ? 2 : 0}`);
      const stored = await stack.mlflow.waitForTrace(trace.traceId, { spans: 3 });
      expect(stored.state).toBe('ERROR');
      expect(inOrder(stored.spans)).toEqual(asStored(trace.spans));
    });
  }
}
