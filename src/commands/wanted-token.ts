import { IssuerProblem } from '../auth/issuer-words.ts';
import { obtainToken } from '../auth/obtain-token.ts';
import type { KeptToken } from '../auth/token-cache.ts';
import { RelayError } from '../errors.ts';
import { NEVER_ABORTS } from '../never-aborts.ts';
import type { TokenWish } from './token-options.ts';

/**
 * The token that a command is to use; what a person has to do for it, and warnings, go to standard error.
 * @throws RelayError NO_TOKEN
 */
export async function wantedToken(wish: TokenWish): Promise<KeptToken> {
  try {
    return await obtainToken(wish, {
      cache: wish.cache,
      now: Date.now,
      tell: ({ url, completeUrl, code, expiresInSeconds }) =>
        say(
          `Open ${completeUrl ?? url} in a browser and enter the code ${code}; it is good for ${Math.round(expiresInSeconds / 60)} minutes.`,
        ),
      warn: (words) => say(`warning: ${words}`),
      signal: NEVER_ABORTS,
    });
  } catch (error) {
    throw asRelayError('NO_TOKEN', error);
  }
}

/** What an issuer says against it, as an error of a command. */
export function asRelayError(code: 'NO_TOKEN' | 'NOT_REVOKED', error: unknown): unknown {
  return error instanceof IssuerProblem ? new RelayError(code, error.message, { cause: error }) : error;
}

function say(words: string): void {
  process.stderr.write(`${words}\n`);
}
