import { Option } from 'commander';
import type { Command } from 'commander';
import type { GrantKind } from '../auth/issuer-words.ts';
import type { GrantRequest, ObtainOptions } from '../auth/obtain-token.ts';
import { createTokenCache, tokenDirectory } from '../auth/token-cache.ts';
import type { TokenCache } from '../auth/token-cache.ts';
import { clientSecretOf, issuerOptionsOf } from '../config/client-credentials.ts';
import type { ClientCredentialsConfig } from '../config/client-credentials.ts';
import { readSecret, secretReader } from '../config/secret.ts';
import { RelayError } from '../errors.ts';
import type { ChosenDestination } from './destination-option.ts';

/** Ways to a token that a person can choose. */
const GRANTS = [
  'client_credentials',
  'device_code',
  'password',
  'refresh_token',
] as const satisfies GrantKind[];

export type TokenFlags = {
  readonly grant: GrantKind;
  readonly clientId?: string;
  readonly clientSecretFile?: string;
  readonly scope?: string;
  readonly username?: string;
  readonly passwordFile?: string;
  readonly refreshTokenFile?: string;
  readonly cache: boolean;
};

/** Gives a command the flags that say whose token is meant. */
export function withTokenOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--grant <kind>',
        'how to come to a token: as the configured client, as a person by a browser on any device, as a user of tests, or by a refresh token',
      )
        .choices(GRANTS)
        .default('client_credentials'),
    )
    .option('--client-id <id>', 'another client than the configured one; a public one unless it has a secret')
    .option('--client-secret-file <file>', 'its secret')
    .option('--scope <scopes>', 'scopes in place of the configured ones, separated by spaces')
    .option('--username <name>', 'whose token, for --grant password')
    .option('--password-file <file>', 'the password for it, - for standard input')
    .option('--refresh-token-file <file>', 'for --grant refresh_token, - for standard input')
    .option('--no-cache', 'use no kept token, and keep none');
}

/** What the flags and the configuration make together. */
export type TokenWish = ObtainOptions & { readonly cache: TokenCache | undefined };

/** @throws RelayError USAGE, or what a secret file throws when it is read */
export function tokenWish({ name, config, file }: ChosenDestination, flags: TokenFlags): TokenWish {
  const { auth } = config;
  if (auth.kind === 'none') {
    throw new RelayError(
      'USAGE',
      `${file}: destination ${name} needs no token (auth is {kind: none}): there is none to be had`,
    );
  }
  const grant = grantOf(flags);
  const configured = issuerOptionsOf(auth);
  const issuer = {
    ...configured,
    clientId: flags.clientId ?? configured.clientId,
    scope: flags.scope ?? configured.scope,
  };
  return {
    issuer,
    secret: secretOf(auth, flags),
    kind: flags.grant,
    grant,
    // Whose token a refresh token brings is not known before, so none of it is kept.
    cache:
      flags.cache && flags.grant !== 'refresh_token'
        ? createTokenCache(tokenDirectory(process.env), {
            issuer: issuer.issuer ?? issuer.discoveryUrl,
            client: issuer.clientId,
            grant: flags.grant,
            scope: issuer.scope,
            audience: issuer.audience,
            resource: issuer.resource,
            username: flags.username,
          })
        : undefined,
  };
}

/** What it needs is asked for when it is needed: a token that is kept needs nothing. */
function grantOf({ grant, username, passwordFile, refreshTokenFile }: TokenFlags): () => GrantRequest {
  const need = (flag: string) =>
    new RelayError('USAGE', `--grant ${grant} needs ${flag}; see mlflow-trace-relay token --help`);
  if (grant === 'password' && username === undefined) throw need('--username');
  if (grant === 'refresh_token' && refreshTokenFile === undefined) throw need('--refresh-token-file');
  return () => {
    switch (grant) {
      case 'client_credentials':
      case 'device_code':
        return { kind: grant };
      case 'password':
        if (passwordFile === undefined) throw need('--password-file');
        return { kind: grant, username: username ?? '', password: secretIn(passwordFile) };
      case 'refresh_token':
        return { kind: grant, refreshToken: secretIn(refreshTokenFile ?? '') };
    }
  };
}

function secretOf(
  auth: ClientCredentialsConfig,
  { clientId, clientSecretFile }: TokenFlags,
): (() => Promise<string>) | undefined {
  if (clientSecretFile !== undefined) return secretReader({ file: clientSecretFile });
  return clientId === undefined ? clientSecretOf(auth) : undefined;
}

/** - is standard input. */
function secretIn(file: string): string {
  return readSecret(file === '-' ? 0 : file);
}
