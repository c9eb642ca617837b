import { join } from 'node:path';
import type { Logger } from '../telemetry/logger.ts';
import { removeIfThere } from './filesystem.ts';
import type { FileSystem } from './filesystem.ts';
import { removeInHand } from './in-hand.ts';
import { removeLedger } from './ledger.ts';
import type { Ledger, LedgerSource } from './ledger.ts';
import type { Position } from './log-cursor.ts';
import type { PositionFile } from './positions.ts';
import { positionPath } from './positions.ts';

type Kept = {
  readonly file: PositionFile;
  readonly ledger: Ledger;
  /** What its ledger is to say: nothing leaves it, but letters of it may be removed. */
  readonly source: LedgerSource;
  readonly waitingSpans: number;
};

/** Beside the positions: `queue forget NAME` asks a running relay by a file `NAME.forget`. */
const SUFFIX = '.forget';

export function forgetRequestPath(directory: string, destination: string): string {
  return join(directory, destination + SUFFIX);
}

/**
 * Destinations that have a position in the queue and are not in the configuration any more: renamed, or removed. What
 * waits for them is kept until an operator gives it up.
 */
export class Unconfigured {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #log: Logger;
  readonly #kept = new Map<string, Kept>();

  /** @param directory of the position files */
  constructor(fs: FileSystem, directory: string, log: Logger) {
    this.#fs = fs;
    this.#directory = directory;
    this.#log = log;
  }

  /** Says so where something waits, as nobody may have meant it. */
  keep(destination: string, kept: Kept): void {
    const { waitingSpans } = kept;
    this.#kept.set(destination, kept);
    if (waitingSpans === 0) return;
    this.#log.warn(
      { destination, spans: waitingSpans },
      'the queue keeps spans of a destination that is not in the configuration: name it there again, or give them up by the command queue forget',
    );
  }

  get positions(): readonly (readonly [string, Position | undefined])[] {
    return [...this.#kept].map(([name, { file }]) => [name, file.saved] as const);
  }

  get ledgers(): readonly Pick<Kept, 'ledger' | 'source' | 'file'>[] {
    return [...this.#kept.values()];
  }

  get waitingSpans(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#kept].map(([name, { waitingSpans }]) => [name, waitingSpans]));
  }

  /**
   * Does what `queue forget` has asked for since the last call. A request for a destination that is in use is taken
   * away and nothing is done: the command sees that its position is still there.
   * @param onForgotten told of what is given up
   */
  async forgetAsked(onForgotten: (destination: string, spans: number) => void): Promise<void> {
    const names = await this.#fs.list(this.#directory);
    for (const request of names.filter((name) => name.endsWith(SUFFIX))) {
      const destination = request.slice(0, -SUFFIX.length);
      const kept = this.#kept.get(destination);
      if (kept !== undefined) {
        await removePosition(this.#fs, this.#directory, destination);
        this.#kept.delete(destination);
        await kept.file.close().catch(() => {});
        onForgotten(destination, kept.waitingSpans);
        this.#log.warn(
          { destination, spans: kept.waitingSpans },
          'gave up what was kept of this destination, as an operator has asked',
        );
      }
      await removeIfThere(this.#fs, join(this.#directory, request));
    }
  }

  async close(): Promise<void> {
    for (const { file } of this.#kept.values()) await file.close();
  }
}

/** From here on the destination is one that was never there. */
export async function removePosition(fs: FileSystem, directory: string, destination: string): Promise<void> {
  await removeInHand(fs, directory, destination);
  await removeLedger(fs, directory, destination);
  await removeIfThere(fs, positionPath(directory, destination));
  await fs.syncDirectory(directory);
}
