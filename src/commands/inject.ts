import { readFileSync, statSync } from 'node:fs';
import { Command } from 'commander';
import { RelayError, messageOf } from '../errors.ts';
import type { Load } from '../inject/inject.ts';
import type { InjectedTrace } from '../inject/injected-trace.ts';
import { withDestination } from './destination-option.ts';
import { withInjectOptions } from './inject-options.ts';
import type { InjectFlags } from './inject-options.ts';
import {
  EXIT_CODE_HELP,
  exitCodeOf,
  summaryOf,
  traceToJson,
  traceToText,
  warningOf,
} from './inject-words.ts';
import { print } from './print.ts';
import { Progress } from './progress.ts';

/** Bytes, also of what is decompressed. */
const LARGEST_FILE = 256 * 1024 * 1024;
const MOST_STEPS = 100;
/** Of each of two, where they stay between the results. */
const MOST_LINES = 5;

const EXAMPLES = `
Examples:
  mlflow-trace-relay inject --config relay.yaml --endpoint https://localhost:4318 \\
    --ca-file ca.crt --cert-file client.crt --key-file client.key --wait 30s
  mlflow-trace-relay inject --config relay.yaml --count 100 --rate 10 --wait 1m --json
  mlflow-trace-relay inject --config relay.yaml --file traces.json --wait 30s`;

/** Sends traces as a client of the relay does, and looks whether MLflow has them. */
export function injectCommand(): Command {
  const command = new Command('inject')
    .summary('send a trace to the relay, and see whether MLflow has it')
    .description(
      'send a trace to the relay, as an agent does that asks a model and calls a tool; with --wait read it back from MLflow, with the token of the destination, and compare it',
    )
    .addHelpText('after', `${EXAMPLES}\n${EXIT_CODE_HELP}`);
  return withDestination(withInjectOptions(command), async (destination) => {
    const flags = command.opts<InjectFlags>();
    // Only this command pays for loading the SDK.
    const { inject } = await import('../inject/inject.ts');
    const { relayEndpoint } = await import('../inject/relay-endpoint.ts');
    const { experimentOf } = await import('../inject/experiment-choice.ts');

    const endpoint = relayEndpoint(flags, process.env);
    const load = await loadOf(flags);
    // Of requests no trace is known before all are sent.
    const sending = load.kind === 'requests' ? progressOf(load.requests.length, sentWords) : undefined;
    let progress = load.kind === 'agent' ? progressOf(load.count, traceWords) : undefined;
    let printed = Promise.resolve();
    /** One after the other, as lines and progress share a terminal. */
    const show = async (before: Promise<void>, result: InjectedTrace, total: number) => {
      await before;
      sending?.end();
      progress ??= progressOf(total, traceWords);
      progress?.end();
      await print(`${flags.json ? traceToJson(result) : traceToText(result)}\n`);
      progress?.addOne();
    };
    const onResult = (result: InjectedTrace, total: number) => {
      printed = show(printed, result, total);
    };

    let results: InjectedTrace[];
    try {
      results = await inject({
        endpoint,
        destination,
        load,
        rate: flags.rate,
        waitMs: flags.wait,
        experiment: flags.experiment === undefined ? undefined : experimentOf(flags.experiment),
        onSent: sending?.addOne,
        onResult,
      });
    } finally {
      await printed;
      sending?.end();
      progress?.end();
    }
    if (results.length > 1 && flags.json === undefined) await print(`${summaryOf(results)}\n`);
    const warning = warningOf(results);
    if (warning !== undefined) process.stderr.write(`${warning}\n`);
    process.exitCode = exitCodeOf(results);
  });
}

const sentWords = (done: number, total: number) => `sent ${done} of ${total} requests`;
const traceWords = (done: number, total: number) => `${done} of ${total} traces`;

/** Of one alone there is nothing to show; of very many not each is a line. */
function progressOf(total: number, wordsOf: (done: number, total: number) => string) {
  if (total === 1) return undefined;
  const progress = new Progress(total, (done) => wordsOf(done, total));
  const step = Math.ceil(total / (process.stderr.isTTY ? MOST_STEPS : MOST_LINES));
  let done = 0;
  progress.add(0);
  return {
    addOne: () => progress.add(++done % step === 0 ? step : 0),
    end: () => progress.end(),
  };
}

/** @throws RelayError USAGE */
async function loadOf({ file, count = 1, service, attribute = {} }: InjectFlags): Promise<Load> {
  if (file === undefined) {
    const { DEFAULT_SERVICE } = await import('../inject/agent-trace.ts');
    return { kind: 'agent', count, service: service ?? DEFAULT_SERVICE, attributes: attribute };
  }
  const { readTraceFile } = await import('../inject/trace-file.ts');
  const read = await readTraceFile(readTraces(file), LARGEST_FILE);
  if (!read.ok) throw new RelayError('USAGE', `${file}: ${read.problem}`);
  return { kind: 'requests', requests: read.requests };
}

function readTraces(file: string): Buffer {
  let size: number;
  try {
    ({ size } = statSync(file));
    if (size <= LARGEST_FILE) return readFileSync(file);
  } catch (cause) {
    throw new RelayError('USAGE', `${file} cannot be read: ${messageOf(cause)}`, { cause });
  }
  throw new RelayError('USAGE', `${file} has ${size} bytes, more than ${LARGEST_FILE}: send it in parts`);
}
