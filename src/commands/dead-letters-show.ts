import { writeFile } from 'node:fs/promises';
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { RelayError, messageOf } from '../errors.ts';
import { quote } from '../network-words.ts';
import { storedLetters, storedSegments } from '../queue/stored-letters.ts';
import type { ReadLetter } from '../queue/stored-letters.ts';
import { withConfigFile } from './config-option.ts';
import { letterToJson, unknownLetters } from './letter-words.ts';
import { print } from './print.ts';
import { safeJson } from './safe-json.ts';

/** The objects of spans take up to a hundred times their bytes: a larger request is not made into them. */
const LARGEST_SHOWN = 4 * 1024 * 1024;

/** One dead letter, with its spans. */
export function deadLettersShowCommand(): Command {
  const command = new Command('show')
    .summary('show a dead letter with its spans')
    .description('show a dead letter as JSON: all that is known of it, and its spans as OTLP/JSON')
    .argument('<id>', 'of the letter, as list prints it')
    .option(
      '-o, --output <file>',
      'write the OTLP request to a new file instead, in protobuf, byte for byte as it came',
    )
    .addHelpText(
      'after',
      `
Examples:
  mlflow-trace-relay dead-letters show 0d9f4c1e-6f0b-4a52-9d6c-3f1f0a7b2c58 --config relay.yaml
  mlflow-trace-relay dead-letters show 0d9f4c1e-6f0b-4a52-9d6c-3f1f0a7b2c58 --config relay.yaml --output request.binpb`,
    );
  return withConfigFile(command, async (file) => {
    const [id = ''] = command.args;
    const { output } = command.opts<{ output?: string }>();
    const { meta, payload } = await findLetter(loadConfig(file, process.env).queue.directory, id);
    if (output === undefined) {
      await print(`${await shown({ meta, payload })}\n`);
      return;
    }
    await writeFile(output, payload, { flag: 'wx', mode: 0o600 }).catch((error: unknown) => {
      command.error(
        `error: cannot write ${quote(output)}: ${messageOf(error)}; name a file that is not there yet`,
      );
    });
  });
}

/** @throws RelayError DEAD_LETTER_UNKNOWN */
async function findLetter(directory: string, id: string): Promise<ReadLetter> {
  let isDamaged = false;
  for (const segment of await storedSegments(directory)) {
    let isHere = false;
    for await (const { meta } of storedLetters(segment)) isHere ||= meta.id === id;
    if (!isHere) continue;
    for await (const letter of storedLetters(segment, { withPayloads: true }))
      if (letter.meta.id === id) return letter;
    isDamaged = true;
  }
  throw new RelayError(
    'DEAD_LETTER_UNKNOWN',
    isDamaged
      ? `the bytes of dead letter ${quote(id)} in ${directory} are damaged, or were removed just now`
      : unknownLetters([id], directory),
  );
}

/** A letter may be one that nothing could read: what cannot be shown of it is said in its place. */
async function shown({ meta, payload }: Pick<ReadLetter, 'meta' | 'payload'>): Promise<string> {
  const letter = letterToJson(meta, payload.length);
  const instead = (problem: string) =>
    safeJson({ ...letter, request: { undecodable: `${problem}; --output writes its bytes to a file` } }, 2);
  if (payload.length > LARGEST_SHOWN) {
    return instead(`the request has ${payload.length} bytes, more than the ${LARGEST_SHOWN} that are shown`);
  }
  const { tracesToJson } = await import('../otlp/traces-json.ts');
  try {
    return safeJson({ ...letter, request: tracesToJson(payload) }, 2);
  } catch (error) {
    return instead(error instanceof RangeError ? 'it is nested too deeply to be shown' : messageOf(error));
  }
}
