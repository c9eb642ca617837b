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
      const request = await decoded(payload);
      await print(`${safeJson({ ...letterToJson(meta, payload.length), request }, 2)}\n`);
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

async function decoded(payload: Uint8Array): Promise<unknown> {
  const { tracesToJson } = await import('../otlp/traces-json.ts');
  try {
    return tracesToJson(payload);
  } catch (error) {
    return { undecodable: messageOf(error) };
  }
}
