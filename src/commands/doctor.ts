import { Command } from 'commander';
import { coloured } from './colours.ts';
import { withConfigFile } from './config-option.ts';
import { chooseDestination } from './destination-option.ts';
import { print } from './print.ts';
import { safeJson } from './safe-json.ts';
import type { State } from '../doctor/checkup.ts';

const EXIT_FAILED = 1;
const EXIT_UNUSABLE = 2;

/** Checks the whole way from the relay's files to MLflow, and says what to do. */
export function doctorCommand(): Command {
  const command = new Command('doctor')
    .summary('check the whole way to MLflow, and say what to do')
    .description(
      'check the whole way from the files of the relay to MLflow: one line a check, and what to do where something is wrong. Stores nothing, and works beside a running relay; run it as the user of the relay, with its environment',
    )
    .option('-d, --destination <name>', 'look at this destination only')
    .option('--json', 'print one JSON document: {configuration, result, checks: [{name, state, words, fix}]}')
    .addHelpText(
      'after',
      `
States of a check: ok, warning, failed, skipped (needs what failed, or cannot be seen from here)

Exit codes:
  0  nothing failed; there may be warnings
  1  something failed
  2  wrong usage, or a configuration that cannot be used

Examples:
  mlflow-trace-relay doctor --config relay.yaml
  mlflow-trace-relay doctor --config relay.yaml --json | jq '.checks[] | select(.state == "failed")'`,
    );
  return withConfigFile(command, async (file) => {
    const { destination, json } = command.opts<{ destination?: string; json?: true }>();
    // Only this command pays for loading what asks issuer and MLflow.
    const { examine } = await import('../doctor/doctor.ts');
    const { documentOf, lineOf, resultOf, summaryOf } = await import('../doctor/report.ts');
    let printed = Promise.resolve();
    const { checks, isUsable } = await examine(
      file,
      process.env,
      (destinations) => {
        if (destination === undefined) return destinations;
        const { name, config } = chooseDestination(file, destinations, destination);
        return { [name]: config };
      },
      (check) => {
        if (json === undefined) printed = printed.then(() => print(inColour(lineOf(check), check.state)));
      },
    );
    await printed;
    await print(json === undefined ? summaryOf(checks) : `${safeJson(documentOf(file, checks), 2)}\n`);
    if (!isUsable) process.exitCode = EXIT_UNUSABLE;
    else if (resultOf(checks) === 'failed') process.exitCode = EXIT_FAILED;
  });
}

/** The line begins with the state. */
function inColour(line: string, state: State): string {
  return coloured(state, state) + line.slice(state.length);
}
