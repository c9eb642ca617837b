import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCommand } from './support/command.ts';
import { startTestRelay } from './support/relay.ts';
import { useSharedStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf } from './support/traces.ts';

const SCRIPT = `
import mlflow, sys
mlflow.set_experiment(experiment_id=sys.argv[1])
with mlflow.start_run() as run:
    mlflow.log_param("by", "token")
print(mlflow.get_run(run.info.run_id).data.params["by"])
print([t.info.trace_id for t in mlflow.search_traces(locations=[sys.argv[1]], return_type="list")])
`;

let stack: Stack;
beforeAll(async () => {
  stack = await useSharedStack();
});
afterAll(() => stack?.stop());

test('the token that is printed serves the MLflow command line and SDK, as variables', async () => {
  const experiment = await stack.mlflow.ensureExperiment(stack.experimentName());
  const relay = await startTestRelay(stack, { experiment: { id: experiment } });
  const trace = makeTrace();
  await relay.sender.send(requestOf(trace.spans));
  await stack.mlflow.waitForTraces(experiment, 1);

  // As a shell has it: export $(mlflow-trace-relay token --config relay.yaml --format env)
  const { stdout, stderr } = await startCommand(
    { XDG_CACHE_HOME: relay.directory },
    'token',
    '-c',
    relay.configFile,
    '--format',
    'env',
  ).ended;
  expect(stderr).toBe('');
  const variables = stdout
    .trim()
    .split(/\s+/)
    .map((line) => line.split(/=(.*)/s, 2) as [string, string]);
  const env = { ...process.env, ...Object.fromEntries(variables) };
  const python = (...args: string[]) => promisify(execFile)(stack.python, args, { env, timeout: 60_000 });
  const [sdk, cli] = await Promise.all([
    python('-c', SCRIPT, experiment),
    python('-m', 'mlflow', 'traces', 'search', '--experiment-id', experiment),
  ]);
  expect(sdk.stdout).toContain('token\n');
  expect(sdk.stdout).toContain(trace.traceId);
  expect(cli.stdout).toContain(trace.traceId);
});
