import { RelayError, injectTrace, injectTraces } from 'mlflow-trace-relay/testing';
import type {
  Difference,
  ErrorCode,
  InjectManyOptions,
  InjectOptions,
  InjectedTrace,
  StoredAttributes,
  StoredSpan,
  StoredTrace,
  StoredValue,
} from 'mlflow-trace-relay/testing';

/* A program of somebody who uses the library. It is compiled against the installed package, and never run. */

const options: InjectOptions = {
  config: 'relay.yaml',
  endpoint: 'https://localhost:4318',
  attributes: { 'session.id': 'session-7' },
  wait: 30_000,
};
const many: InjectManyOptions = { ...options, count: 3, rate: 1, wait: false };

const result: InjectedTrace = await injectTrace(options);
const results: InjectedTrace[] = await injectTraces(many);

export const trace: StoredTrace | undefined = result.trace;
export const spans: StoredSpan[] = trace?.spans ?? [];
export const attributes: StoredAttributes = spans[0]?.attributes ?? {};
export const value: StoredValue | undefined = attributes['session.id'];
export const start: bigint | undefined = spans[0]?.start;
export const differences: readonly Difference[] = results.flatMap((each) => each.differences);
export const isStored: boolean = result.outcome === 'stored';
export const codeOf = (error: unknown): ErrorCode | undefined =>
  error instanceof RelayError ? error.code : undefined;

// @ts-expect-error -- the configuration has to be named
void injectTrace({ endpoint: 'https://localhost:4318' });
// @ts-expect-error -- no outcome
export const isLost: boolean = result.outcome === 'lost';
