import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { parseDuration } from '../config/units.ts';
import { HIGHEST_RATE, LONGEST_WAIT_MS, MOST_TRACES } from '../inject/limits.ts';

/** What is said on the command line of `inject`. */
export type InjectFlags = {
  readonly endpoint?: string;
  readonly caFile?: string;
  readonly certFile?: string;
  readonly keyFile?: string;
  /** Milliseconds. */
  readonly wait?: number;
  readonly file?: string;
  readonly count?: number;
  /** A second. */
  readonly rate?: number;
  readonly service?: string;
  readonly attribute?: Readonly<Record<string, string>>;
  readonly experiment?: string;
  readonly json?: true;
};

export function withInjectOptions(command: Command): Command {
  return command
    .option(
      '--endpoint <url>',
      'of the relay, with or without /v1/traces; else OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT',
      toText,
    )
    .option('--ca-file <file>', 'CA of the relay, PEM; else OTEL_EXPORTER_OTLP_CERTIFICATE', toText)
    .option(
      '--cert-file <file>',
      'client certificate, PEM; else OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE',
      toText,
    )
    .option('--key-file <file>', 'its private key, PEM; else OTEL_EXPORTER_OTLP_CLIENT_KEY', toText)
    .option(
      '--wait <time>',
      'read each trace back from MLflow, for so long, as in 30s, and compare it span by span',
      toWait,
    )
    .option(
      '--experiment <experiment>',
      'id or name to read back from, in place of the configured one',
      toText,
    )
    .addOption(
      new Option(
        '--file <file>',
        "send the traces in it, ids and all: OTLP as JSON, JSON lines or protobuf, as the Collector's file exporter writes it; may be compressed with gzip or zstd",
      )
        .argParser(toText)
        .conflicts(['count', 'service', 'attribute']),
    )
    .option('--count <number>', `how many traces (1 to ${MOST_TRACES}; default: 1)`, toCount)
    .option('--rate <number>', `traces, or requests of a file, a second (up to ${HIGHEST_RATE})`, toRate)
    .option('--service <name>', 'service.name of the traces (default: weather-assistant)', toText)
    .option('--attribute <key=value>', 'of the root span; may be given several times', collect)
    .option('--json', 'a line of JSON for each trace');
}

function toText(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('It is empty.');
  return text;
}

function toWait(text: string): number {
  const wait = parseDuration(text);
  if (wait === undefined || wait === 0 || wait > LONGEST_WAIT_MS)
    throw new InvalidArgumentError('Write it as in 500ms, 30s or 5m, up to 1h.');
  return wait;
}

function toCount(text: string): number {
  const count = Number(text);
  if (/^[0-9]+$/.test(text) && count >= 1 && count <= MOST_TRACES) return count;
  throw new InvalidArgumentError(`Expected 1 to ${MOST_TRACES}.`);
}

function toRate(text: string): number {
  const rate = Number(text);
  if (/^[0-9]+(\.[0-9]+)?$/.test(text) && rate > 0 && rate <= HIGHEST_RATE) return rate;
  throw new InvalidArgumentError(`Expected a number above 0, up to ${HIGHEST_RATE}.`);
}

function collect(
  text: string,
  before: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new InvalidArgumentError('Write it as in user.id=me.');
  return { ...before, [key]: value };
}
