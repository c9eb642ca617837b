import { startPostgres } from '../../stack/postgres.ts';
import type { Postgres } from '../../stack/postgres.ts';
import { temporaryFolder } from './relay.ts';
import { startOwnStack } from './stack.ts';
import type { OwnStack } from './stack.ts';

/** The database of traces. */
export const TRACKING = 'tracking';

/**
 * A stack whose MLflow has two workers, and both of its stores in a PostgreSQL of its own.
 * @param whenOver given what is to be done then, to be called in the opposite order
 * @param options of its MLflow, where it is another
 */
export async function startStackOnPostgres(
  whenOver: (finish: () => Promise<void>) => void,
  options: Parameters<typeof startOwnStack>[0] = {},
): Promise<{ readonly postgres: Postgres; readonly stack: OwnStack }> {
  const directory = await temporaryFolder(whenOver);
  const postgres = await startPostgres({ directory });
  whenOver(async () => void (await postgres.stop()));
  for (const name of [TRACKING, 'auth']) await postgres.createDatabase(name);
  const database = { tracking: postgres.url(TRACKING), auth: postgres.url('auth') };
  const stack = await startOwnStack({ database, workers: 2, ...options });
  whenOver(() => stack.stop());
  return { postgres, stack };
}
