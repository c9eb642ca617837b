import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { storedLetters, storedSegments } from '../queue/stored-letters.ts';
import { withConfigFile } from './config-option.ts';
import { filterOf, isMeant, withFilter } from './letter-filter.ts';
import { LetterSums, letterToJson, letterToLine, unknownDestination } from './letter-words.ts';
import { print } from './print.ts';
import { safeJson } from './safe-json.ts';

/** Which dead letters there are. */
export function deadLettersListCommand(): Command {
  const command = new Command('list')
    .summary('list dead letters, the oldest first')
    .description(
      'list dead letters, the oldest first: when it was refused, id, destination, sender, spans, HTTP status, whether it was delivered repaired, reason',
    )
    .addHelpText(
      'after',
      `
Examples:
  mlflow-trace-relay dead-letters list --config relay.yaml
  mlflow-trace-relay dead-letters list --config relay.yaml --reason "session id" --newer-than 24h
  mlflow-trace-relay dead-letters list --config relay.yaml --not-repaired --json | jq -r .id`,
    );
  withFilter(command).option('--json', 'one JSON object a line, with all that is known but the spans');
  return withConfigFile(command, async (file) => {
    const { queue, destinations } = loadConfig(file, process.env);
    const filter = filterOf(command);
    const { json = false } = command.opts<{ json?: boolean }>();
    const now = Date.now();
    const sums = new LetterSums();
    const ofLetters = new Set<string>();
    for (const segment of await storedSegments(queue.directory)) {
      for await (const { meta, payloadSize } of storedLetters(segment)) {
        ofLetters.add(meta.destination);
        if (!isMeant(filter, meta, now)) continue;
        sums.add(meta, payloadSize);
        const { columns } = process.stdout;
        await print(`${json ? safeJson(letterToJson(meta, payloadSize)) : letterToLine(meta, columns)}\n`);
      }
    }
    if (!json) await print(`${sums}\n`);
    process.stderr.write(unknownDestination(filter.destination, destinations, ofLetters) ?? '');
  });
}
