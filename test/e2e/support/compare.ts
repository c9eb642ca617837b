import { expect } from 'vitest';
import type { MlflowClient } from '../../stack/mlflow-client.ts';
import { asStored, inOrder } from './traces.ts';
import type { TestTrace } from './traces.ts';

/** How many traces are read back at once. */
const READERS = 4;

/** The experiment has these traces, whole and as they were sent, and no other. */
export async function expectStored(
  mlflow: MlflowClient,
  experimentId: string,
  traces: readonly TestTrace[],
): Promise<void> {
  const ids = await mlflow.searchTraces(experimentId);
  expect(ids.toSorted()).toEqual(traces.map(({ traceId }) => traceId).toSorted());
  await expectWhole(mlflow, traces);
}

/** These traces are there, whole and as they were sent. */
export async function expectWhole(mlflow: MlflowClient, traces: readonly TestTrace[]): Promise<void> {
  const left = [...traces];
  const read = async () => {
    for (let trace = left.pop(); trace !== undefined; trace = left.pop()) {
      const stored = await mlflow.getTrace(trace.traceId);
      expect(stored?.state).toMatch(/^(OK|ERROR)$/);
      expect(inOrder(stored?.spans ?? [])).toEqual(asStored(trace.spans));
    }
  };
  await Promise.all(Array.from({ length: READERS }, read));
}
