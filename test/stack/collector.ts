import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { ensureInstalled } from './install.ts';
import type { Step } from './install.ts';
import { StackError, freePort, startProcess } from './processes.ts';
import { createService } from './service.ts';
import type { Service } from './service.ts';
import { missingToolchain } from './toolchains.ts';

/*
 * The OpenTelemetry Collector, built with its own builder from the parts that collector/builder.yaml names.
 */

const MANIFEST = join(import.meta.dirname, 'collector/builder.yaml');
/** Of all its parts but one extension. */
export const COLLECTOR_VERSION = '0.145.0';
const BUILDER = `go.opentelemetry.io/collector/cmd/builder@v${COLLECTOR_VERSION}`;

/**
 * The program, built if it is not there yet, which takes minutes where Go's caches are empty.
 * @throws StackError in one line, where Go is missing or a part cannot be had
 */
export async function ensureCollector({
  cacheDir,
  signal,
}: { cacheDir?: string; signal?: AbortSignal | undefined } = {}): Promise<string> {
  const recipe = {
    what: 'the OpenTelemetry Collector',
    name: 'collector',
    inputs: [BUILDER, await readFile(MANIFEST, 'utf8')],
    make: build,
  };
  const { directory } = await ensureInstalled(recipe, { cacheDir, signal });
  return join(directory, 'collector');
}

async function build(directory: string, step: Step): Promise<void> {
  const missing = missingToolchain('go');
  if (missing !== undefined) throw new StackError(`the OpenTelemetry Collector cannot be built: ${missing}`);
  if (!(await step('go', ['install', BUILDER], { env: { ...process.env, GOBIN: directory } }))) {
    throw new StackError(`${BUILDER} could not be installed`);
  }
  // The parts are of different releases, which the builder minds unless told otherwise.
  const options = ['--skip-strict-versioning', `--config=${MANIFEST}`];
  if (!(await step(join(directory, 'builder'), options))) {
    throw new StackError('the OpenTelemetry Collector could not be built');
  }
  await rename(join(directory, 'source/collector'), join(directory, 'collector'));
  await rm(join(directory, 'source'), { recursive: true });
}

/** A configuration of the Collector, by its own keys. */
export type CollectorConfig = {
  extensions?: Record<string, unknown>;
  receivers: Record<string, unknown>;
  processors?: Record<string, unknown>;
  exporters: Record<string, unknown>;
  service: {
    extensions?: readonly string[];
    pipelines: Record<string, unknown>;
    telemetry?: Record<string, unknown>;
  };
};

export type CollectorOptions = {
  /** By `ensureCollector`. */
  binary: string;
  /** Configuration and log; made if missing. */
  directory: string;
  /** Its health check and its own metrics are added, each on a free port. */
  config: CollectorConfig;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
};

/** Started again, it has the same configuration and ports. */
export type Collector = Service & {
  readonly configFile: string;
  readonly logFile: string;
  /** What the Collector counts, the samples of a name added up; 0 while there is none. */
  metric(name: string): Promise<number>;
};

/**
 * Writes the configuration and starts the Collector with it.
 * @throws StackError with the end of its log when it does not get ready
 */
export async function startCollector(options: CollectorOptions): Promise<Collector> {
  const { binary, directory, config, env = process.env, signal } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const healthPort = await freePort();
  const metricsPort = await freePort();
  const configFile = join(directory, 'collector.yaml');
  const logFile = join(directory, 'collector.log');
  await writeFile(configFile, stringify(withTelemetry(config, { healthPort, metricsPort })), { mode: 0o600 });

  const service = createService({
    name: 'the Collector',
    launch: () => startProcess(binary, ['--config', configFile], { cwd: directory, env, logFile }),
    logFile,
    healthUrl: `http://127.0.0.1:${healthPort}/`,
    readyDeadlineMs: 30_000,
    stopDeadlineMs: 40_000,
    signal,
  });
  await service.start();
  return {
    ...service,
    configFile,
    logFile,
    async metric(name) {
      const response = await fetch(`http://127.0.0.1:${metricsPort}/metrics`);
      return sumOf(name, await response.text());
    },
  };
}

function withTelemetry(
  config: CollectorConfig,
  { healthPort, metricsPort }: { healthPort: number; metricsPort: number },
): CollectorConfig {
  const { extensions, service } = config;
  const reader = { pull: { exporter: { prometheus: { host: '127.0.0.1', port: metricsPort } } } };
  return {
    ...config,
    extensions: { ...extensions, health_check: { endpoint: `127.0.0.1:${healthPort}` } },
    service: {
      ...service,
      extensions: [...(service.extensions ?? []), 'health_check'],
      telemetry: { metrics: { readers: [reader] }, ...service.telemetry },
    },
  };
}

function sumOf(name: string, exposition: string): number {
  let sum = 0;
  for (const line of exposition.split('\n')) {
    if (new RegExp(`^${name}[{ ]`).test(line)) sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}
