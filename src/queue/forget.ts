import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { RelayError, messageOf } from '../errors.ts';
import { realFileSystem } from './filesystem.ts';
import { lockDirectory } from './lock.ts';
import { needOwner } from './owner.ts';
import { positionPath, savedDestinations } from './positions.ts';
import { forgetRequestPath, removePosition } from './unconfigured.ts';

/** A running relay looks for requests about once a second. */
const ANSWER_DEADLINE_MS = 15_000;
const LOOK_EVERY_MS = 100;

/**
 * Gives up what waits for a destination that is not in the configuration any more. Where a relay runs on the
 * directory, it is asked to; else this process takes the directory for a moment.
 *
 * @param directory of the queue
 * @returns who did it: the room is free at once, or when a relay starts
 * @throws RelayError DESTINATION_UNKNOWN, DESTINATION_IN_USE, QUEUE_LOCKED when the relay does not answer,
 *   QUEUE_UNUSABLE
 */
export async function forgetDestination(
  directory: string,
  destination: string,
): Promise<'running relay' | 'this process'> {
  const fs = realFileSystem;
  const positions = join(directory, 'positions');
  const saved = await savedDestinations(fs, positions).catch((error: unknown) => {
    throw new RelayError(
      'QUEUE_UNUSABLE',
      `there is no queue in ${directory} (key queue.directory): ${messageOf(error)}; name the folder of the relay's queue`,
      { cause: error },
    );
  });
  if (!saved.includes(destination)) {
    throw new RelayError(
      'DESTINATION_UNKNOWN',
      `the queue in ${directory} keeps nothing for a destination ${destination}; ${saved.length === 0 ? 'it knows none' : `it knows ${saved.join(', ')}`}`,
    );
  }

  await needOwner(positions);
  let unlock: () => void;
  try {
    unlock = lockDirectory(directory);
  } catch (error) {
    if (!(error instanceof RelayError) || error.code !== 'QUEUE_LOCKED') throw error;
    await askRunningRelay(error);
    return 'running relay';
  }
  try {
    await removePosition(fs, positions, destination);
  } finally {
    unlock();
  }
  return 'this process';

  async function askRunningRelay(locked: RelayError): Promise<void> {
    const request = forgetRequestPath(positions, destination);
    await fs.create(request).then(
      (file) => file.close(),
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error; // of a command that was cut off
      },
    );
    for (const end = Date.now() + ANSWER_DEADLINE_MS; Date.now() < end; await pause(LOOK_EVERY_MS)) {
      const names = new Set(await fs.list(positions));
      if (names.has(basename(request))) continue;
      if (!names.has(basename(positionPath(positions, destination)))) return;
      throw new RelayError(
        'DESTINATION_IN_USE',
        `the running relay delivers to ${destination}: take it out of destinations, start the relay again, and then forget it`,
      );
    }
    await fs.remove(request).catch(() => {});
    throw new RelayError(
      'QUEUE_LOCKED',
      `${locked.message}. It was asked to forget ${destination} and has not answered; its log says more`,
      { cause: locked },
    );
  }
}
