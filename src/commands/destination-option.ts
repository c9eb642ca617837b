import type { Command } from 'commander';
import { closest } from '../config/closest.ts';
import { loadDestinations } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { RelayError } from '../errors.ts';
import { withConfigFile } from './config-option.ts';

/** One destination of a configuration. */
export type ChosenDestination = {
  readonly name: string;
  readonly config: Config['destinations'][string];
  /** That it stands in. */
  readonly file: string;
};

/** Gives a command `--config FILE` and `--destination NAME`, of which the latter is needed where there are several. */
export function withDestination(
  command: Command,
  action: (chosen: ChosenDestination) => void | Promise<void>,
): Command {
  command.option('-d, --destination <name>', 'destination in the configuration; needed where it has several');
  return withConfigFile(command, (file) => {
    const { destination } = command.opts<{ destination?: string }>();
    return action(chooseDestination(file, loadDestinations(file, process.env), destination));
  });
}

/** @throws RelayError DESTINATION_UNKNOWN */
export function chooseDestination(
  file: string,
  destinations: Config['destinations'],
  wanted: string | undefined,
): ChosenDestination {
  const names = Object.keys(destinations);
  const name = wanted ?? (names.length === 1 ? names[0] : undefined);
  const config = name !== undefined && Object.hasOwn(destinations, name) ? destinations[name] : undefined;
  if (name !== undefined && config !== undefined) return { name, config, file };
  const meant = wanted === undefined ? undefined : closest(wanted, names);
  throw new RelayError(
    'DESTINATION_UNKNOWN',
    wanted === undefined
      ? `${file} has several destinations: say which by --destination (${names.join(', ')})`
      : `${file} has no destination ${JSON.stringify(wanted)}; ${meant === undefined ? `it has ${names.join(', ')}` : `did you mean ${meant}?`}`,
  );
}
