import { Command, Option } from 'commander';
import { readClaims } from '../auth/token-claims.ts';
import { withDestination } from './destination-option.ts';
import type { ChosenDestination } from './destination-option.ts';
import { print } from './print.ts';
import { safeJson } from './safe-json.ts';
import { tokenInspectCommand } from './token-inspect.ts';
import { tokenWish, withTokenOptions } from './token-options.ts';
import type { TokenFlags } from './token-options.ts';
import { tokenRevokeCommand } from './token-revoke.ts';
import type { KeptToken } from '../auth/token-cache.ts';

const FORMATS = ['token', 'header', 'env', 'json'] as const;
type Format = (typeof FORMATS)[number];

/** An access token for MLflow, on standard output and nothing else there. */
export function tokenCommand(): Command {
  const command = new Command('token')
    .summary('print an access token for MLflow')
    .description(
      'print an access token for a destination; it is kept for the next command, and replaced before it ends',
    );
  withTokenOptions(command).addOption(
    new Option('--format <format>', 'the token alone, a header, variables for MLflow, or JSON')
      .choices(FORMATS)
      .default('token'),
  );
  return withDestination(command, async (chosen) => {
    const flags = command.opts<TokenFlags & { format: Format }>();
    if (flags.grant === 'password') {
      process.stderr.write(
        'warning: the password grant is for users of tests; for people there is --grant device_code\n',
      );
    }
    // Only these commands pay for loading what asks issuers.
    const { wantedToken } = await import('./wanted-token.ts');
    const token = await wantedToken(tokenWish(chosen, flags));
    await print(`${formatted(flags.format, token, chosen)}\n`);
  })
    .addCommand(tokenInspectCommand())
    .addCommand(tokenRevokeCommand())
    .addHelpText(
      'after',
      `
Examples:
  export $(mlflow-trace-relay token --config relay.yaml --format env)    # MLFLOW_TRACKING_URI and _TOKEN
  curl -H "$(mlflow-trace-relay token --config relay.yaml --format header)" https://mlflow.example.com/version
  mlflow-trace-relay token --config relay.yaml --grant device_code --client-id mlflow-cli

Of the configuration only its destinations are looked at. Tokens are kept in $XDG_CACHE_HOME/mlflow-trace-relay/tokens
(~/.cache), readable by this user alone. A kept token is used whatever the client secret is now; --no-cache asks the
issuer anew.`,
    );
}

function formatted(format: Format, token: KeptToken, { config }: ChosenDestination): string {
  const { accessToken, expiresAt } = token;
  switch (format) {
    case 'token':
      return accessToken;
    case 'header':
      return `Authorization: Bearer ${accessToken}`;
    case 'env':
      return `MLFLOW_TRACKING_URI=${config.url}\nMLFLOW_TRACKING_TOKEN=${accessToken}`;
    case 'json': {
      const { username, audience, groups } = readClaims(accessToken) ?? {};
      return safeJson({
        access_token: accessToken,
        token_type: 'Bearer',
        expires_at: new Date(expiresAt).toISOString(),
        username,
        audience,
        groups,
      });
    }
  }
}
