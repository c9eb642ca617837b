import { Command } from 'commander';
import { withDestination } from './destination-option.ts';
import { print } from './print.ts';
import { tokenWish, withTokenOptions } from './token-options.ts';
import type { TokenFlags } from './token-options.ts';

/** Ends what is kept, here and at the issuer. */
export function tokenRevokeCommand(): Command {
  const command = new Command('revoke')
    .summary('end the token that is kept, here and at the issuer')
    .description(
      'end the token that is kept, and the refresh token with it: at the issuer (RFC 7009), and on this disk. MLflow asks no issuer: there an access token is good until it ends',
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
    const kept = await wish.cache?.read();
    if (kept === undefined) {
      await print('no token is kept: nothing to revoke\n');
      return;
    }
    const { revoke } = await import('../auth/grants.ts');
    const { createIssuerClient } = await import('../auth/issuer-client.ts');
    const { asNoToken } = await import('./wanted-token.ts');
    try {
      const client = createIssuerClient(wish.issuer);
      const { signal } = new AbortController();
      const metadata = await client.discover(signal);
      const asking = { metadata, secret: await wish.secret?.(), signal };
      if (kept.refreshToken !== undefined) await revoke(client, asking, kept.refreshToken);
      await revoke(client, asking, kept.accessToken);
    } catch (error) {
      throw asNoToken(error);
    } finally {
      // What the issuer did not take back is at least not here any more.
      await wish.cache?.remove();
    }
    await print('revoked, and removed from this disk\n');
  });
}
