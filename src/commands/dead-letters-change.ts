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
import { LetterSums, counted, unknownLetters } from './letter-words.ts';
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
    'put dead letters into the queue again, to be delivered to the destination that had refused them; beside a running relay, or without one. What is interrupted can be run again',
  );
}

export function deadLettersDiscardCommand(): Command {
  return changeCommand('discard', 'remove dead letters for good; beside a running relay, or without one');
}

function changeCommand(action: Action, description: string): Command {
  const command = withFilter(new Command(action).description(description))
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
    const found = await survey(config.queue.directory, isChosen, filter.id ?? []);
    const unconfigured =
      action === 'replay'
        ? found.sums.destinations.filter((name) => !Object.hasOwn(config.destinations, name))
        : [];
    if (dryRun) {
      await print(`would be ${DONE[action]}:\n${found.sums}\n${wordsOf(unconfigured)}`);
      return;
    }
    if (found.sums.letters === 0) {
      await print('no dead letters match: nothing was done\n');
      return;
    }
    await change(action, config, found, isChosen, unconfigured);
  });
}

type Found = { readonly segments: readonly LetterSegment[]; readonly sums: LetterSums };

/** @throws RelayError DEAD_LETTER_UNKNOWN */
async function survey(
  directory: string,
  isChosen: (letter: LetterMeta) => boolean,
  named: readonly string[],
): Promise<Found> {
  const segments: LetterSegment[] = [];
  const sums = new LetterSums();
  const missing = new Set(named);
  for (const segment of await storedSegments(directory)) {
    const before = sums.letters;
    for await (const { meta, payloadSize } of storedLetters(segment)) {
      missing.delete(meta.id);
      if (isChosen(meta)) sums.add(meta, payloadSize);
    }
    if (sums.letters > before) segments.push(segment);
  }
  if (missing.size > 0) throw new RelayError('DEAD_LETTER_UNKNOWN', unknownLetters([...missing], directory));
  return { segments, sums };
}

/** @throws RelayError DEAD_LETTERS_LEFT if not all was done */
async function change(
  action: Action,
  config: Config,
  { segments, sums }: Found,
  isChosen: (letter: LetterMeta) => boolean,
  unconfigured: readonly string[],
): Promise<void> {
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    // Once: a second signal ends the process as it does any other.
    process.once(signal, () => interrupted.abort());
  }
  const { openLetterWork } = await import('../queue/letter-work.ts');
  const work = await openLetterWork({
    directory: config.queue.directory,
    maxBytes: config.queue.max_size,
    destinations: Object.keys(config.destinations),
  });
  const progress = new Progress(
    sums.letters,
    (count) => `${DONE[action]} ${count} of ${counted(sums.letters, 'letter')}`,
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
  const sum = `${progress.words} (${counted(spans, 'span')})`;
  if (stopped !== undefined) throw new RelayError('DEAD_LETTERS_LEFT', `${sum}, then stopped: ${stopped}`);
  if (left > 0)
    throw new RelayError(
      'DEAD_LETTERS_LEFT',
      `${sum}; ${counted(left, 'letter')} stayed: ${wordsOf(unconfigured)}`,
    );
  const whenDelivered = work.isRelay
    ? 'the running relay delivers them'
    : 'they are delivered when the relay starts';
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

function wordsOf(unconfigured: readonly string[]): string {
  if (unconfigured.length === 0) return '';
  return `nothing is replayed to a destination that is not in the configuration (${unconfigured.map(quote).join(', ')}): name it there again, or discard its letters\n`;
}
