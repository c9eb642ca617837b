import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { RelayError } from '../errors.ts';
import { quote } from '../network-words.ts';
import type { LetterRequest } from '../queue/letter-requests.ts';
import { storedLetters, storedSegments } from '../queue/stored-letters.ts';
import type { LetterMeta, LetterSegment } from '../queue/stored-letters.ts';
import { withConfigFile } from './config-option.ts';
import { filterOf, isMeant, withFilter } from './letter-filter.ts';
import { LetterSums, counted, isRepaired, unknownDestination, unknownLetters } from './letter-words.ts';
import { print } from './print.ts';
import { Progress } from './progress.ts';

type Action = LetterRequest['action'];

const DONE: Readonly<Record<Action, string>> = { replay: 'replayed', discard: 'discarded' };

/** Letters in a request to replay, at least: each request rewrites their segment, so a few for one are enough. */
const MIN_LETTERS = 500;
const REQUESTS_PER_SEGMENT = 8;

export function deadLettersReplayCommand(): Command {
  return changeCommand(
    'replay',
    'put dead letters into the queue again',
    'put dead letters into the queue again, to be delivered to the destination that had refused them; beside a running relay, or without one. What is interrupted can be run again',
    ['--reason "session id" --dry-run', '--destination mlflow --newer-than 7d', '--not-repaired'],
  );
}

export function deadLettersDiscardCommand(): Command {
  return changeCommand(
    'discard',
    'remove dead letters for good',
    'remove dead letters for good; beside a running relay, or without one',
    ['--older-than 30d', '--repaired'],
  );
}

function changeCommand(
  action: Action,
  summary: string,
  description: string,
  examples: readonly string[],
): Command {
  const command = withFilter(new Command(action).summary(summary).description(description))
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        ...examples.map(
          (flags) => `  mlflow-trace-relay dead-letters ${action} --config relay.yaml ${flags}`,
        ),
      ].join('\n'),
    )
    .option('--all', 'all dead letters, in place of a filter')
    .option('--dry-run', 'say what would be done, and do nothing');
  return withConfigFile(command, async (file) => {
    const filter = filterOf(command);
    const { all = false, dryRun = false } = command.opts<{ all?: boolean; dryRun?: boolean }>();
    const isFiltered = Object.keys(filter).length > 0;
    if (isFiltered === all) {
      command.error(
        isFiltered
          ? 'error: --all and a filter exclude each other'
          : `error: say which dead letters to ${action}: by a filter (see --help), or all of them by --all`,
      );
    }
    const config = loadConfig(file, process.env);
    const now = Date.now();
    // Those that come while it works are not meant: what is replayed may be refused again.
    const isChosen = (letter: LetterMeta) => letter.refusedAt <= now && isMeant(filter, letter, now);
    const found = await survey(action, config, isChosen, filter.id ?? []);
    const { going, staying, mended } = found;
    const typo = unknownDestination(filter.destination, config.destinations, found.destinations);
    process.stderr.write(typo ?? '');
    if (mended > 0) process.stderr.write(mendedAgain(mended));
    if (dryRun) {
      await print(`would be ${DONE[action]}:\n${going}\n`);
      if (staying.letters > 0)
        await print(`would stay: their destination is not in the configuration\n${staying}\n`);
      return;
    }
    if (going.letters + staying.letters === 0) {
      await print('no dead letters match: nothing was done\n');
      return;
    }
    await change(action, config, found, isChosen);
  });
}

type Found = {
  readonly segments: readonly LetterSegment[];
  readonly going: LetterSums;
  /** Of destinations that are not in the configuration. */
  readonly staying: LetterSums;
  /** Letters whose spans are repaired once more. */
  readonly mended: number;
  /** Of all letters, chosen or not. */
  readonly destinations: ReadonlySet<string>;
};

/** @throws RelayError DEAD_LETTER_UNKNOWN */
async function survey(
  action: Action,
  { queue: { directory }, destinations: configured }: Config,
  isChosen: (letter: LetterMeta) => boolean,
  named: readonly string[],
): Promise<Found> {
  const segments: LetterSegment[] = [];
  const going = new LetterSums();
  const staying = new LetterSums();
  const destinations = new Set<string>();
  const missing = new Set(named);
  let mended = 0;
  for (const segment of await storedSegments(directory)) {
    let isConcerned = false;
    for await (const { meta, payloadSize } of storedLetters(segment)) {
      missing.delete(meta.id);
      destinations.add(meta.destination);
      if (!isChosen(meta)) continue;
      isConcerned = true;
      const to = Object.hasOwn(configured, meta.destination) ? configured[meta.destination] : undefined;
      (action === 'replay' && to === undefined ? staying : going).add(meta, payloadSize);
      if (action === 'replay' && to?.repair === true && isRepaired(meta)) mended++;
    }
    if (isConcerned) segments.push(segment);
  }
  if (missing.size > 0) throw new RelayError('DEAD_LETTER_UNKNOWN', unknownLetters([...missing], directory));
  return { segments, going, staying, mended, destinations };
}

/** @throws RelayError DEAD_LETTERS_LEFT if not all was done */
async function change(
  action: Action,
  config: Config,
  { segments, going, staying }: Found,
  isChosen: (letter: LetterMeta) => boolean,
): Promise<void> {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    // Once: a second signal ends the process as it does any other.
    process.once(signal, () => interrupted.abort());
  }
  const all = going.letters + staying.letters;
  const progress = new Progress(
    going.letters,
    (count) => `${DONE[action]} ${count} of ${counted(all, 'letter')}`,
  );
  const { openLetterWork } = await import('../queue/letter-work.ts');
  const work = await openLetterWork(
    {
      directory: config.queue.directory,
      maxBytes: config.queue.max_size,
      destinations: Object.keys(config.destinations),
    },
    { interrupted: interrupted.signal, say: (words) => progress.say(words) },
  );
  let spans = 0;
  let left = 0;
  let stopped: string | undefined;
  try {
    for await (const { segment, ids } of parts(action, segments, isChosen)) {
      if (interrupted.signal.aborted) stopped = 'it was interrupted; run it again for the rest';
      if (stopped !== undefined) break;
      const answer = await work.carryOut({ action, segment: segment.id, ids });
      spans += answer.spans;
      left += answer.unconfigured;
      stopped = answer.stopped;
      progress.add(answer.letters);
    }
  } finally {
    progress.end();
    await work.close();
  }
  let sum = `${progress.words} (${counted(spans, 'span')})`;
  if (stopped !== undefined) throw new RelayError('DEAD_LETTERS_LEFT', `${sum}, then stopped: ${stopped}`);
  const gone = all - progress.done - left;
  if (gone > 0)
    sum += `; ${counted(gone, 'letter')} had been replayed or discarded meanwhile, or cannot be read`;
  if (left > 0)
    throw new RelayError(
      'DEAD_LETTERS_LEFT',
      `${sum}; ${counted(left, 'letter')} stayed: ${whyStayed(staying.destinations)}`,
    );
  const whenDelivered = 'the relay delivers them, now or when it starts';
  await print(action === 'replay' ? `${sum}; ${whenDelivered}\n` : `${sum}\n`);
}

/** Ids of the letters that are chosen, of a segment at most. What is discarded at once may need no copy of the rest. */
async function* parts(
  action: Action,
  segments: readonly LetterSegment[],
  isChosen: (letter: LetterMeta) => boolean,
): AsyncGenerator<{ segment: LetterSegment; ids: string[] }> {
  for (const segment of segments) {
    const ids: string[] = [];
    for await (const { meta } of storedLetters(segment)) if (isChosen(meta)) ids.push(meta.id);
    const size =
      action === 'discard' ? ids.length : Math.max(MIN_LETTERS, Math.ceil(ids.length / REQUESTS_PER_SEGMENT));
    for (let at = 0; at < ids.length; at += size) yield { segment, ids: ids.slice(at, at + size) };
  }
}

function whyStayed(unconfigured: readonly string[]): string {
  // What the configuration of the relay that runs lacks need not be missing in the file.
  if (unconfigured.length === 0) return 'the running relay does not know their destination: start it again';
  return `nothing is replayed to a destination that is not in the configuration (${unconfigured.map(quote).join(', ')}): name it there again, or discard its letters`;
}

function mendedAgain(letters: number): string {
  return `warning: the spans of ${counted(letters, 'letter')} were delivered repaired; replayed, they are repaired and delivered once more, as long as repair is on for their destination (--not-repaired leaves them out)\n`;
}
