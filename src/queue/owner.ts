import { stat } from 'node:fs/promises';
import { RelayError } from '../errors.ts';

/**
 * Keeps a command from writing in a folder that a relay of another user has made: what root leaves there that relay can
 * neither read nor remove.
 * @throws RelayError QUEUE_UNUSABLE
 */
export async function needOwner(directory: string): Promise<void> {
  const user = process.geteuid?.();
  const owner = await stat(directory).then(
    ({ uid }) => uid,
    () => undefined, // whoever opens it says more
  );
  if (user === undefined || owner === undefined || user === owner) return;
  throw new RelayError(
    'QUEUE_UNUSABLE',
    `${directory} belongs to user ${owner}, and this command runs as user ${user}: the relay could not use what it writes there, so nothing was done; run it as the user of the relay, as by sudo -u '#${owner}'`,
  );
}
