import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { messageOf } from '../../src/errors.ts';
import { COLLECTOR_VERSION, ensureCollector } from '../stack/collector.ts';
import { CACHE } from '../stack/install.ts';
import { StackError } from '../stack/processes.ts';
import { step } from '../stack/progress.mjs';
import { ensurePythonEnvironment } from '../stack/python.ts';
import { runUntilStopped } from '../stack/stop-signals.ts';
import { missingToolchain } from '../stack/toolchains.ts';
import { machineLine } from './machine.ts';
import { measureLoneTraces } from './mlflow/lone.ts';
import { measure } from './mlflow/measure.ts';
import type { Result, Route } from './mlflow/measure.ts';
import { COLLECTOR, RELAY, loneReport, missingSpans, report } from './mlflow/report.ts';
import { SCENARIOS } from './mlflow/scenario.ts';
import type { Scenario } from './mlflow/scenario.ts';
import { startSetting } from './mlflow/setting.ts';
import type { Setting } from './mlflow/setting.ts';
import { SETTLING_SECONDS, settlingReport, watchSettling } from './mlflow/settling.ts';
import { timeline } from './mlflow/timeline.ts';
import { toRounds, turned } from './rounds.ts';

/*
 * How many spans a second a real MLflow on PostgreSQL has stored: by the relay, by the Collector, and by hand-made
 * requests, one after the other; and how long the relay takes for a trace alone. Started by bootstrap.mjs; ends by
 * itself.
 */

type Options = { rounds: number; scenario?: string; route?: string; timeline: boolean; settling: boolean };

async function main(options: Options, signal: AbortSignal): Promise<void> {
  const undo: (() => unknown)[] = [];
  try {
    const missingTool = missingToolchain('postgres');
    if (missingTool !== undefined) throw new StackError(missingTool);
    const routes = options.settling ? [] : await chooseRoutes(options.route, signal);
    const python = await step('MLflow in a Python environment', () =>
      ensurePythonEnvironment(CACHE, { signal }),
    );
    const directory = await mkdtemp(join(tmpdir(), 'relay-bench-'));
    undo.push(() => rm(directory, { recursive: true, force: true }));
    const setting = await step('MLflow on PostgreSQL, and an OpenID provider', () =>
      startSetting(directory, python, undo, signal),
    );
    const place = { directory, signal };
    if (options.settling) {
      process.stdout.write(
        `\n${machineLine()}; ${await setting.versions()}\n\n${await settle(setting, place)}\n`,
      );
      return;
    }
    const warmUp = { setting, scenario: SCENARIOS[0], round: 0, ...place };
    await step('a first load, not measured', () => measure({ name: 'ideal, 4 at once', atOnce: 4 }, warmUp));
    // Before the loads, which leave work to PostgreSQL.
    const lone = routes.some(({ name }) => name === RELAY)
      ? loneReport(
          await step('lone traces', () => measureLoneTraces(setting, join(directory, 'lone'), signal)),
        )
      : '';
    const results = await measureAll(setting, routes, { ...options, ...place });
    const versions = await setting.versions();
    process.stdout.write(
      `\n${machineLine()}; Collector ${COLLECTOR_VERSION}; ${versions}\n\n${report(results)}\n${lone}\n`,
    );
    const missing = results.filter((r) => r.route === RELAY).reduce((sum, r) => sum + missingSpans(r), 0);
    if (missing !== 0) throw new StackError(`of what the relay accepted, ${missing} spans are not in MLflow`);
  } finally {
    for (const stop of undo.toReversed()) {
      try {
        await stop();
      } catch (error) {
        process.stderr.write(`bench:mlflow: ${messageOf(error)}\n`);
      }
    }
  }
}

/** In place of the measurements. */
async function settle(
  setting: Setting,
  { directory, signal }: { directory: string; signal: AbortSignal },
): Promise<string> {
  const { issuer, client, certificates } = setting;
  const sqlite = await step('MLflow on SQLite', () => setting.startOnSqlite());
  const lines: string[] = [];
  for (const [name, { mlflowUrl, createExperiment }] of [
    ['PostgreSQL', setting],
    ['SQLite', sqlite],
  ] as const) {
    const experimentId = await createExperiment();
    const own = join(directory, name);
    const around = { mlflowUrl, issuer, client, certificates, directory: own, experimentId, signal };
    const samples = await step(`${name}, ${SETTLING_SECONDS} s at most`, () =>
      Promise.race([watchSettling(around), setting.failed]),
    );
    lines.push(settlingReport(name, samples));
  }
  return lines.join('\n');
}

async function chooseRoutes(only: string | undefined, signal: AbortSignal): Promise<Route[]> {
  const isWanted = (kind: string) => only === undefined || only === kind;
  const binary = isWanted('collector')
    ? await step('the Collector, built once', () => ensureCollector({ signal }))
    : '';
  return [
    ...(isWanted('relay') ? [{ name: RELAY } as const] : []),
    ...(isWanted('collector') ? [{ name: COLLECTOR, binary } as const] : []),
    ...(isWanted('ideal')
      ? [2, 4].map((atOnce) => ({ name: `ideal, ${atOnce} at once`, atOnce }) as const)
      : []),
  ];
}

async function measureAll(
  setting: Setting,
  routes: readonly Route[],
  options: Options & { directory: string; signal: AbortSignal },
): Promise<Result[]> {
  const { rounds, directory, signal } = options;
  const scenarios: readonly Scenario[] = SCENARIOS.filter(({ name }) => name === (options.scenario ?? name));
  const results: Result[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const scenario of scenarios) {
      for (const [place, route] of turned(routes, round - 1).entries()) {
        const own = join(directory, `${round}-${scenario.name}-${place}`);
        const result = await step(`${scenario.name}, ${route.name} (${round} of ${rounds})`, () =>
          measure(route, { setting, directory: own, scenario, round, signal }),
        );
        if (options.timeline) process.stdout.write(`${timeline(result)}\n`);
        results.push(result);
        await rm(own, { recursive: true, force: true });
      }
    }
  }
  return results;
}

const command = new Command('npm run bench:mlflow --')
  .description(
    'spans stored a second in a real MLflow on PostgreSQL: relay, Collector, and hand-made requests',
  )
  .option('--rounds <number>', 'measurements of each; medians are shown', toRounds, 3)
  .addOption(new Option('--scenario <name>', 'this one only').choices(SCENARIOS.map(({ name }) => name)))
  .addOption(new Option('--route <name>', 'this one only').choices(['relay', 'collector', 'ideal']))
  .option(
    '--settling',
    'in place of that: how many requests at once the relay finds MLflow to take on PostgreSQL and on SQLite, where more waits than goes',
    false,
  )
  .option('--timeline', 'show what each transaction of MLflow has stored, and when', false)
  .parse();

await runUntilStopped('bench:mlflow', (signal) => main(command.opts<Options>(), signal));
