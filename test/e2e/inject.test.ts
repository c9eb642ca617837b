import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { injectTrace, injectTraces } from '../../src/testing.ts';
import { ensureCollector } from '../stack/collector.ts';
import type { StoredAttributes } from '../stack/mlflow-client.ts';
import { startTestCollector } from './support/collector.ts';
import type { Pipeline } from './support/collector.ts';
import { startCommand } from './support/command.ts';
import type { Ended } from './support/command.ts';
import { expectWhole } from './support/compare.ts';
import { clientFiles, startTestRelay, temporaryFolder } from './support/relay.ts';
import type { TestRelay } from './support/relay.ts';
import { skipWithout } from './support/skip.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf, toProtobuf } from './support/traces.ts';
import type { TestTrace } from './support/traces.ts';

const EXAMPLES = join(import.meta.dirname, '../examples');
const PROJECT = join(import.meta.dirname, '../..');
const WAIT = ['--wait', '30s'];

const cleanUps: (() => Promise<void>)[] = [];
let stack: Stack;
let relay: TestRelay;
let experiment: string;
beforeAll(async () => {
  stack = await useSharedStack();
  experiment = stack.experimentName();
  relay = await startTestRelay(stack, { experiment: { name: experiment } }, (finish) =>
    cleanUps.push(finish),
  );
});
afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  await stack?.stop();
});

/** Tests that run at the same time cannot tell which of them is over. */
const whenAllIsOver = (finish: () => Promise<void>) => void cleanUps.push(finish);

/** As an exporter is told where the relay is. */
function variables() {
  const { caFile, certFile, keyFile } = clientFiles(stack);
  return {
    OTEL_EXPORTER_OTLP_ENDPOINT: relay.url,
    OTEL_EXPORTER_OTLP_CERTIFICATE: caFile,
    OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: certFile,
    OTEL_EXPORTER_OTLP_CLIENT_KEY: keyFile,
  };
}

function run(...args: readonly string[]): Promise<Ended> {
  return startCommand(variables(), 'inject', '--config', relay.configFile, ...args).ended;
}

type Line = {
  trace_id: string;
  outcome: string;
  reason?: string;
  link?: string;
  already_stored?: boolean;
  stored_after_seconds?: number;
  experiment_id?: string;
  differences?: { span: string; what: string; sent: string; stored: string }[];
};

async function runJson(
  ...args: readonly string[]
): Promise<{ code: number | null; stderr: string; lines: Line[] }> {
  const { code, stdout, stderr } = await run('--json', ...args);
  const lines = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
  return { code, stderr, lines };
}

/** A configuration like that of the relay, for the account of another client. */
async function configOf(client: { clientId: string; secret: string }): Promise<string> {
  const folder = await temporaryFolder(whenAllIsOver);
  const config = parse(await readFile(relay.configFile, 'utf8')) as {
    destinations: { mlflow: { auth: object } };
  };
  const { mlflow } = config.destinations;
  mlflow.auth = { ...mlflow.auth, client_id: client.clientId, client_secret_file: 'secret' };
  await writeFile(join(folder, 'secret'), client.secret, { mode: 0o600 });
  await writeFile(join(folder, 'relay.yaml'), stringify({ destinations: config.destinations }));
  return join(folder, 'relay.yaml');
}

describe.concurrent('ends with', () => {
  test('0: stored, and equal', async () => {
    const { caFile, certFile, keyFile } = clientFiles(stack);
    const flags = [
      '--endpoint',
      relay.url,
      '--ca-file',
      caFile,
      '--cert-file',
      certFile,
      '--key-file',
      keyFile,
    ];
    const args = ['inject', '--config', relay.configFile, ...flags, ...WAIT];
    const { code, stdout, stderr } = await startCommand({}, ...args, '--service', 'my-agent').ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [, traceId = '', link] =
      /^([0-9a-f]{32}) {2}stored and equal {2}5 spans {2}after \d+\.\d\d s {2}(http\S+)\n$/.exec(stdout) ??
      [];
    const id = await stack.mlflow.findExperiment(experiment);
    expect(link).toBe(`${stack.mlflowUrl}/#/experiments/${id}/traces?selectedEvaluationId=tr-${traceId}`);
    expect(await stack.mlflow.getTrace(traceId)).toMatchObject({
      experimentId: id,
      state: 'OK',
      tags: { 'service.name': 'my-agent' },
    });
  });

  test('0: taken by the relay, where it is not waited for', async () => {
    const { code, lines } = await runJson();
    expect({ code, lines }).toEqual({
      code: 0,
      lines: [{ trace_id: expect.any(String) as string, outcome: 'sent', spans: 5 }],
    });
    await stack.mlflow.waitForTrace(lines[0]!.trace_id, { spans: 5 });
  });

  test('3: refused by the relay', async () => {
    const { code, lines } = await runJson('--endpoint', `${relay.url}/elsewhere`, ...WAIT);
    expect(code).toBe(3);
    expect(lines).toMatchObject([
      { outcome: 'refused', reason: expect.stringContaining('/elsewhere/v1/traces answers 404: ') as string },
    ]);
  });

  test('3: no client certificate', async () => {
    const { OTEL_EXPORTER_OTLP_CERTIFICATE: ca } = variables();
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: relay.url, OTEL_EXPORTER_OTLP_CERTIFICATE: ca };
    const { code, stdout } = await startCommand(env, 'inject', '--config', relay.configFile).ended;
    expect(code).toBe(3);
    expect(stdout).toMatch(/not taken by the relay {2}5 spans\n {2}.*client certificate/);
  });

  test('4: not in MLflow in time', async () => {
    const { code, lines } = await runJson('--wait', '2s', '--experiment', 'nobody has made this');
    expect(code).toBe(4);
    expect(lines).toMatchObject([
      { outcome: 'not stored', reason: 'experiment "nobody has made this" does not exist in MLflow' },
    ]);
  });

  test('5: stored, but not as it was sent', async () => {
    const { code, lines } = await runJson(...WAIT, '--attribute', `session.id=${'x'.repeat(300)}`);
    expect(code).toBe(5);
    expect(lines).toMatchObject([{ outcome: 'differs', differences: expect.any(Array) as [] }]);
    expect(lines[0]!.differences?.map(({ span, what }) => [span, what])).toEqual([
      ['invoke_agent weather-assistant', 'attribute session.id'],
      ['invoke_agent weather-assistant', 'attribute relay.repaired'],
    ]);
  });

  test('5: in another experiment than it is read from', async () => {
    const other = await stack.mlflow.ensureExperiment(stack.experimentName());
    const { code, lines } = await runJson(...WAIT, '--experiment', other);
    expect(code).toBe(5);
    const id = await stack.mlflow.findExperiment(experiment);
    expect(lines[0]!.differences).toMatchObject([{ what: 'experiment', sent: other, stored: id }]);
  });

  test('6: an account that may not read it', async () => {
    const config = await configOf(inject('stack').otherClient);
    const { code, lines } = await runJson(...WAIT, '--config', config);
    expect(code).toBe(6);
    expect(lines).toMatchObject([{ outcome: 'not readable' }]);
    expect(lines[0]!.reason).toContain(`service-account-other needs READ on experiment "${experiment}"`);
  });

  test('6: a client that the issuer refuses', async () => {
    const config = await configOf({ clientId: stack.client.clientId, secret: 'outdated' });
    const { code, lines } = await runJson(...WAIT, '--config', config);
    expect(code).toBe(6);
    expect(lines[0]!.reason).toMatch(/^no access token: /);
    expect(JSON.stringify(lines)).not.toContain('outdated');
  });
});

const toJson = ({ spans }: TestTrace) => JSON.stringify(requestOf(spans));

const VALUES = {
  text: 'ä "quoted"\n',
  whole: 7,
  large: 2n ** 62n + 1n,
  part: 0.25,
  no: false,
  list: ['a', 'b'],
  map: { inner: [1, { deep: null }] },
};
/** A text that is JSON comes back from MLflow as what it says. */
const traceOf = (attributes: StoredAttributes = { ...VALUES, json: '{"a":[1,"two"]}' }): TestTrace =>
  makeTrace(3, {
    attributes,
    events: [{ name: 'event', time: 1_700_000_000_000_000_009n, attributes: { n: 1 } }],
    status: { code: 'STATUS_CODE_ERROR', message: 'broken' },
  });

describe.concurrent('a file', () => {
  test('with one request in protobuf is sent as it is, ids and all', async () => {
    const traces = [traceOf(), traceOf()];
    const file = join(await temporaryFolder(whenAllIsOver), 'traces');
    await writeFile(file, toProtobuf(requestOf(traces.flatMap(({ spans }) => spans))));
    const { code, stderr, lines } = await runJson(...WAIT, '--file', file);
    expect({ code, stderr, outcomes: lines.map(({ outcome }) => outcome) }).toEqual({
      code: 0,
      stderr: '1 of 2 traces\n',
      outcomes: ['stored', 'stored'],
    });
    expect(lines.map(({ trace_id }) => trace_id).toSorted()).toEqual(
      traces.map(({ traceId }) => traceId).toSorted(),
    );
  });

  test('that is sent again with something changed is waited for until MLflow shows the change', async () => {
    const trace = traceOf();
    const file = join(await temporaryFolder(whenAllIsOver), 'traces.json');
    await writeFile(file, toJson(trace));
    expect((await runJson(...WAIT, '--file', file)).code).toBe(0);
    const spans = trace.spans.map((span) => ({ ...span, name: `${span.name} again` }));
    await writeFile(file, toJson({ ...trace, spans }));
    const changed = await runJson(...WAIT, '--file', file);
    expect(changed).toMatchObject({ code: 0, stderr: '' });
    expect(changed.lines[0]?.already_stored).toBeUndefined();
    const again = await runJson(...WAIT, '--file', file);
    expect(again).toMatchObject({ code: 0, lines: [{ outcome: 'stored', already_stored: true }] });
    expect(again.stderr).toMatch(/^1 trace was in MLflow before it was sent: /);
  });
});

describe.skipIf(skipWithout('go'))("a file of the Collector's file exporter", () => {
  beforeAll(async () => void (await ensureCollector()));

  test('is sent as it is, in every form that it writes', async () => {
    const folder = await temporaryFolder();
    const files = ['json', 'proto'].flatMap((format) =>
      [{}, { compression: 'zstd' }].map((compression, index) => {
        const name = `${format}-${index}`;
        const path = join(folder, name);
        const pipeline: Pipeline = { kind: 'file', exporter: { path, format, ...compression } };
        return { name, path, pipeline, traces: [traceOf(VALUES), traceOf(VALUES)] };
      }),
    );
    const collector = await startTestCollector(
      Object.fromEntries(files.map(({ name, pipeline }) => [name, pipeline])),
    );
    for (const { name, traces } of files) {
      for (const { spans } of traces) await collector.send(name, requestOf(spans));
    }
    // Only then is all of it in the files.
    await collector.stop();

    const ends = await Promise.all(files.map(({ path }) => runJson(...WAIT, '--file', path)));
    expect(ends.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      files.map(() => ({ code: 0, stderr: 'sent 1 of 2 requests\n1 of 2 traces\n' })),
    );
    // In the order in which MLflow has them.
    expect(ends.map(({ lines }) => lines.map(({ trace_id }) => trace_id).toSorted())).toEqual(
      files.map(({ traces }) => traces.map(({ traceId }) => traceId).toSorted()),
    );
    await expectWhole(
      stack.mlflow,
      files.flatMap(({ traces }) => traces),
    );
  });
});

test('many traces, with how far it is and what became of all', async () => {
  const { code, stdout, stderr } = await run(...WAIT, '--count', '20', '--rate', '100');
  expect(code).toBe(0);
  const lines = stdout.trimEnd().split('\n');
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toMatch(/^20 traces: 20 stored and equal, after \d+\.\d\d to \d+\.\d\d s$/);
  const ids = lines.slice(0, 20).map((line) => line.split('  ')[0]);
  expect(new Set(ids).size).toBe(20);
  const id = await stack.mlflow.findExperiment(experiment);
  expect(await stack.mlflow.searchTraces(id!)).toEqual(expect.arrayContaining(ids));
  expect(stderr.split('\n').slice(0, 2)).toEqual(['4 of 20 traces', '8 of 20 traces']);
});

function libraryOptions() {
  return { config: relay.configFile, endpoint: relay.url, ...clientFiles(stack) };
}

describe('as a library', () => {
  test('gives what MLflow has of the trace', async () => {
    const result = await injectTrace({ ...libraryOptions(), attributes: { 'user.id': 'me' } });
    expect(result).toMatchObject({ outcome: 'stored', differences: [], trace: { state: 'OK' } });
    expect(result.trace?.metadata['mlflow.trace.user']).toBe('me');
    expect(JSON.parse(result.trace?.metadata['mlflow.trace.tokenUsage'] ?? '{}')).toMatchObject({
      input_tokens: 412 + 468,
      output_tokens: 23 + 57,
    });
  });

  test('sends several, and need not wait', async () => {
    const results = await injectTraces({ ...libraryOptions(), count: 3, wait: false });
    expect(results.map(({ outcome }) => outcome)).toEqual(['sent', 'sent', 'sent']);
    for (const { traceId } of results) await stack.mlflow.waitForTrace(traceId, { spans: 5 });
    await expect(injectTraces({ ...libraryOptions(), count: 0 })).rejects.toThrow(
      'count: expected 1 to 10000',
    );
    await expect(injectTraces({ ...libraryOptions(), count: 1, rate: 0 })).rejects.toThrow(
      'rate: expected above 0',
    );
  });
});

/** As a person runs them who has installed the package. */
async function exampleOptions() {
  const bin = await temporaryFolder();
  const command = `#!/bin/sh\nexec '${process.execPath}' '${join(PROJECT, 'dist/main.js')}' "$@"\n`;
  await writeFile(join(bin, 'mlflow-trace-relay'), command, { mode: 0o700 });
  return {
    cwd: EXAMPLES,
    env: {
      ...process.env,
      ...variables(),
      NO_COLOR: '1',
      PATH: `${bin}:${process.env['PATH']}`,
      RELAY_CONFIG: relay.configFile,
    },
    timeout: 120_000,
  };
}

describe('the example', () => {
  test('for vitest passes', async () => {
    const vitest = join(PROJECT, 'node_modules/vitest/vitest.mjs');
    const { stdout } = await promisify(execFile)(process.execPath, [vitest, 'run'], await exampleOptions());
    expect(stdout).toMatch(/Tests\D+1 passed/);
  });

  test('for pytest passes', async () => {
    const args = ['-B', '-m', 'pytest', '-q', '-p', 'no:cacheprovider'];
    const { stdout } = await promisify(execFile)(stack.python, args, await exampleOptions());
    expect(stdout).toMatch(/^2 passed in /m);
  });
});
