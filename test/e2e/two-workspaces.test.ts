import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommand } from './support/command.ts';
import { accountOf, startTestRelay } from './support/relay.ts';
import { startOwnStack } from './support/stack.ts';
import type { Stack } from './support/stack.ts';
import { makeTrace, requestOf } from './support/traces.ts';

/* The real MLflow with workspaces, in which a trace id is in one of them only: it says so to nobody. */

let stack: Stack;
beforeAll(async () => {
  stack = await startOwnStack({ isOpen: true, environment: { MLFLOW_ENABLE_WORKSPACES: 'true' } });
});
afterAll(() => stack?.stop());

/** By MLflow's REST API. */
async function ask(workspace: string, path: string, body: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(stack.mlflowUrl + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-mlflow-workspace': workspace },
    body: JSON.stringify(body),
  });
  expect(response.ok).toBe(true);
  return (await response.json()) as Record<string, unknown>;
}

async function makeExperiment(workspace: string): Promise<string> {
  const made = await ask(workspace, '/api/2.0/mlflow/experiments/create', { name: `of ${workspace}` });
  return String(made['experiment_id']);
}

async function tracesIn(workspace: string, experiment: string): Promise<string[]> {
  const locations = [{ type: 'MLFLOW_EXPERIMENT', mlflow_experiment: { experiment_id: experiment } }];
  const { traces = [] } = await ask(workspace, '/api/3.0/mlflow/traces/search', { locations });
  return (traces as { trace_id: string }[]).map(({ trace_id: id }) => id.replace('tr-', ''));
}

test('two destinations with two workspaces are warned of: each trace is in one of them, and both are answered 200', async () => {
  await ask('default', '/api/3.0/mlflow/workspaces', { name: 'other' });
  const experiments = { default: await makeExperiment('default'), other: await makeExperiment('other') };
  const destination = { kind: 'mlflow', url: stack.mlflowUrl, auth: { kind: 'none' } };
  const places = Object.entries(experiments).map(([workspace, id]) => [
    workspace,
    { ...destination, workspace, experiment: { id } },
  ]);
  const relay = await startTestRelay(stack, {
    // It takes the place of the one that the test's relay has by itself.
    more: { destinations: { ...Object.fromEntries(places), mlflow: undefined } },
  });
  const traces = Array.from({ length: 10 }, () => makeTrace(2));
  for (const { spans } of traces) await relay.sender.send(requestOf(spans));
  for (const name of ['default', 'other']) {
    await expect.poll(async () => (await accountOf(relay, name)).waiting, { timeout: 60_000 }).toBe(0);
    expect(await accountOf(relay, name)).toMatchObject({ delivered: 20, deadLetters: 0 });
  }
  const stored = [
    ...(await tracesIn('default', experiments.default)),
    ...(await tracesIn('other', experiments.other)),
  ];
  expect(new Set(stored).size).toBe(stored.length);
  expect(stored.length).toBeLessThan(2 * traces.length);

  const { stderr } = await runCommand('config', 'check', '--config', relay.configFile);
  expect(stderr).toMatch(
    /^warning: destinations default and other .* two workspaces of one MLflow .* has nothing stored, and the answer 200 all the same\n +fix: leave one of them out/,
  );
});
