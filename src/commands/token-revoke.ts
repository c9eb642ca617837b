import { Command } from 'commander';
import { TOKEN_IN_USE } from '../auth/token-cache.ts';
import type { TokenCache } from '../auth/token-cache.ts';
import { RelayError } from '../errors.ts';
import { NEVER_ABORTS } from '../never-aborts.ts';
import { withDestination } from './destination-option.ts';
import { print } from './print.ts';
import { tokenWish, withTokenOptions } from './token-options.ts';
import type { TokenFlags, TokenWish } from './token-options.ts';

/** Ends what is kept, here and at the issuer; or a refresh token that is given. */
export function tokenRevokeCommand(): Command {
  const command = new Command('revoke')
    .summary('end the token that is kept, here and at the issuer')
    .description(
      'end the token that is kept, and the refresh token with it: at the issuer (RFC 7009), and on this disk; with --grant refresh_token, the one in that file. MLflow asks no issuer: there an access token is good until it ends',
    )
    .addHelpText(
      'after',
      `
Examples:
  mlflow-trace-relay token revoke --config relay.yaml
  mlflow-trace-relay token revoke --config relay.yaml --grant device_code --client-id mlflow-cli`,
    );
  return withDestination(withTokenOptions(command), async (chosen) => {
    const wish = tokenWish(chosen, command.opts<TokenFlags>());
    const given = command.opts<TokenFlags>().grant === 'refresh_token' ? wish.grant() : undefined;
    if (given?.kind === 'refresh_token') {
      await atIssuer(wish, [given.refreshToken]);
      await print('revoked\n');
      return;
    }
    const { cache } = wish;
    // Not while another command replaces it.
    const isDone = await cache?.alone(
      () => revokeKept(wish, cache),
      () => process.stderr.write(`${TOKEN_IN_USE}\n`),
    );
    await print(
      isDone === true ? 'revoked, and removed from this disk\n' : 'no token is kept: nothing to revoke\n',
    );
  });
}

/** @returns whether there was one */
async function revokeKept(wish: TokenWish, cache: TokenCache): Promise<boolean> {
  const kept = await cache.read();
  if (kept === undefined) return false;
  const { accessToken, refreshToken } = kept;
  try {
    await atIssuer(wish, refreshToken === undefined ? [accessToken] : [refreshToken, accessToken]);
  } catch (error) {
    if (!(error instanceof RelayError)) throw error;
    const message = `removed from this disk, and not revoked at the issuer: ${error.message}`;
    throw new RelayError(error.code, message, { cause: error });
  } finally {
    // Not before: who stops this while the issuer hangs can still revoke it. What it does not take back goes all the same.
    await cache.remove();
  }
  return true;
}

async function atIssuer(wish: TokenWish, tokens: readonly string[]): Promise<void> {
  const { revoke } = await import('../auth/grants.ts');
  const { createIssuerClient } = await import('../auth/issuer-client.ts');
  const { asRelayError } = await import('./wanted-token.ts');
  try {
    const client = createIssuerClient(wish.issuer);
    const metadata = await client.discover(NEVER_ABORTS);
    const asking = { metadata, secret: await wish.secret?.(), signal: NEVER_ABORTS };
    for (const token of tokens) await revoke(client, asking, token);
  } catch (error) {
    throw asRelayError('NOT_REVOKED', error);
  }
}
