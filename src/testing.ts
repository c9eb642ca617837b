import { chooseDestination } from './commands/destination-option.ts';
import { loadDestinations } from './config/load.ts';
import { RelayError } from './errors.ts';
import { DEFAULT_SERVICE } from './inject/agent-trace.ts';
import { inject } from './inject/inject.ts';
import type { InjectedTrace } from './inject/injected-trace.ts';
import { relayEndpoint } from './inject/relay-endpoint.ts';
import { checkOptions } from './inject/library-options.ts';
import { experimentOf } from './inject/experiment-choice.ts';

export { RelayError } from './errors.ts';
export type { ErrorCode } from './errors.ts';
export type { Difference } from './inject/compare.ts';
export type { InjectedTrace } from './inject/injected-trace.ts';
export type { StoredAttributes, StoredSpan, StoredTrace, StoredValue } from './inject/stored-trace.ts';

/* The library of the package: `import { injectTrace } from 'mlflow-trace-relay/testing'`. */

/** What is sent, where to, and how it is read back. */
export type InjectOptions = {
  /** Path of a configuration of the relay; only its `destinations` are looked at. */
  config: string;
  /** Name of the destination in it; needed where it has several. */
  destination?: string;
  /**
   * URL of the relay, such as `https://mlflow-trace-relay:4318`. Left out: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
   * `OTEL_EXPORTER_OTLP_ENDPOINT`.
   */
  endpoint?: string;
  /** CA of the relay, PEM. Left out, as the next two: `OTEL_EXPORTER_OTLP_CERTIFICATE` and its like. */
  caFile?: string;
  /** Client certificate, PEM. */
  certFile?: string;
  /** Its private key, PEM. */
  keyFile?: string;
  /**
   * Milliseconds to wait for the trace in MLflow, up to an hour, 30,000 unless given; `false`: it is sent and not read
   * back.
   */
  wait?: number | false;
  /** `service.name` of the resource; `weather-assistant` unless given. */
  service?: string;
  /** Attributes of the root span, such as `session.id`. */
  attributes?: Readonly<Record<string, string>>;
  /** Id or name of the experiment to read back from, in place of the configured one. */
  experiment?: string;
};

/** The same, for several traces. */
export type InjectManyOptions = InjectOptions & {
  /** How many traces, 1 to 10,000. */
  count: number;
  /** Traces a second, up to 1,000; left out: as fast as the relay answers. */
  rate?: number;
};

const DEFAULT_WAIT_MS = 30_000;

/**
 * Sends a made-up agent trace (a root, two calls of a model, a tool that fails and one that does not) to the relay, and
 * reads it back from MLflow, as the account of the relay. What becomes of it is a value:
 *
 * ```ts
 * const result = await injectTrace({ config: 'relay.yaml', endpoint: 'https://localhost:4318' });
 * expect(result).toMatchObject({ outcome: 'stored' });
 * ```
 *
 * @throws RelayError CONFIG_UNREADABLE, CONFIG_INVALID, DESTINATION_UNKNOWN, CERTIFICATE_INVALID, USAGE
 */
export async function injectTrace(options: InjectOptions): Promise<InjectedTrace> {
  checkOptions(options, 'one trace');
  const [result] = await injectAll({ ...options, count: 1 });
  return result!;
}

/**
 * As `injectTrace`, several times; the results are in the order of sending.
 * @throws RelayError as `injectTrace`
 */
export async function injectTraces(options: InjectManyOptions): Promise<InjectedTrace[]> {
  checkOptions(options, 'several');
  return injectAll(options);
}

function injectAll(options: InjectManyOptions): Promise<InjectedTrace[]> {
  const { config: file, destination, count, rate, experiment } = options;
  const { wait = DEFAULT_WAIT_MS, service = DEFAULT_SERVICE, attributes = {} } = options;
  return inject({
    endpoint: inOptions(() => relayEndpoint(options, process.env)),
    destination: inOptions(() => chooseDestination(file, loadDestinations(file, process.env), destination)),
    load: { kind: 'agent', count, service, attributes },
    rate,
    waitMs: wait === false ? undefined : wait,
    experiment: experiment === undefined ? undefined : experimentOf(experiment),
  });
}

const OPTION_OF: Readonly<Record<string, keyof InjectOptions>> = {
  '--config FILE': 'config',
  '--destination': 'destination',
  '--endpoint': 'endpoint',
  '--ca-file': 'caFile',
  '--cert-file': 'certFile',
  '--key-file': 'keyFile',
};

/** What is said of the command line is said of the options of a program. */
function inOptions<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof RelayError)) throw error;
    const pattern = new RegExp(Object.keys(OPTION_OF).join('|'), 'g');
    const message = error.message.replace(pattern, (flag) => `the option ${OPTION_OF[flag]}`);
    throw new RelayError(error.code, message, { cause: error.cause });
  }
}
