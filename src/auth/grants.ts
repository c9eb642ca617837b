import * as oauth from 'openid-client';
import { quote } from '../network-words.ts';
import type { Asking, IssuerClient } from './issuer-client.ts';
import { IssuerProblem } from './issuer-words.ts';
import type { GrantKind } from './issuer-words.ts';

/* The ways to a token, one function each. All throw IssuerProblem. */

/** `expiresIn` as the issuer wrote it. */
export type Grant = {
  readonly value: string;
  readonly expiresIn: unknown;
  readonly refreshToken?: string;
};

/** RFC 6749 section 4.4. */
export function byClientCredentials(client: IssuerClient, asking: Asking): Promise<Grant> {
  return granted(client, asking, 'client_credentials', [], (config) =>
    oauth.clientCredentialsGrant(config, client.parameters),
  );
}

/** RFC 6749 section 6. */
export function byRefreshToken(client: IssuerClient, asking: Asking, refreshToken: string): Promise<Grant> {
  return granted(client, asking, 'refresh_token', [refreshToken], (config) =>
    oauth.refreshTokenGrant(config, refreshToken),
  );
}

/** RFC 6749 section 4.3, which RFC 9700 section 2.4 tells not to use: for users of tests. */
export function byPassword(
  client: IssuerClient,
  asking: Asking,
  { username, password }: { readonly username: string; readonly password: string },
): Promise<Grant> {
  return granted(client, asking, 'password', [password], (config) =>
    oauth.genericGrantRequest(config, 'password', { ...client.parameters, username, password }),
  );
}

/** What a person is to do, on any device that has a browser (RFC 8628 section 3.2). */
export type DeviceLogin = {
  readonly url: string;
  /** The code in it already; undefined where the issuer gives none. */
  readonly completeUrl: string | undefined;
  readonly code: string;
  readonly expiresInSeconds: number;
};

/** RFC 8628. Waits until the person has allowed it, has not, or the code is over. */
export async function byDeviceCode(
  client: IssuerClient,
  asking: Asking,
  tell: (login: DeviceLogin) => void,
): Promise<Grant> {
  if (asking.metadata.device_authorization_endpoint === undefined) {
    throw new IssuerProblem(
      'refusal',
      `the issuer ${quote(asking.metadata.issuer)} names no device_authorization_endpoint: it has no device login`,
    );
  }
  const words = { grant: 'device_code', hidden: [] } as const;
  const login = await client.run(asking, words, (config) =>
    oauth.initiateDeviceAuthorization(config, client.parameters),
  );
  tell({
    url: login.verification_uri,
    completeUrl: login.verification_uri_complete,
    code: login.user_code,
    expiresInSeconds: login.expires_in,
  });
  const over = AbortSignal.timeout(login.expires_in * 1000);
  const signal = AbortSignal.any([asking.signal, over]);
  try {
    return await granted(client, asking, 'device_code', [login.device_code], (config) =>
      oauth.pollDeviceAuthorizationGrant(config, login, undefined, { signal }),
    );
  } catch (error) {
    if (!over.aborted) throw error;
    throw new IssuerProblem('refusal', 'nobody has allowed it in time: run the command again');
  }
}

/** RFC 7009: of a refresh token the access tokens end with it, where the issuer can. */
export async function revoke(client: IssuerClient, asking: Asking, token: string): Promise<void> {
  if (asking.metadata.revocation_endpoint === undefined) {
    throw new IssuerProblem(
      'refusal',
      `the issuer ${quote(asking.metadata.issuer)} names no revocation_endpoint: its tokens end by themselves`,
    );
  }
  const words = { grant: 'client_credentials', hidden: [token] } as const;
  await client.run(asking, words, (config) => oauth.tokenRevocation(config, token));
}

async function granted(
  client: IssuerClient,
  asking: Asking,
  grant: GrantKind,
  hidden: readonly string[],
  step: (config: oauth.Configuration) => Promise<oauth.TokenEndpointResponse>,
): Promise<Grant> {
  const answer = await client.run(asking, { grant, hidden }, step);
  if (answer.token_type !== 'bearer') {
    throw new IssuerProblem('refusal', `the issuer gives ${quote(answer.token_type)} tokens, not bearer`);
  }
  // It stands in headers and in shells: RFC 6750 section 2.1 allows less than this.
  if (!/^[\x21-\x7e]+$/.test(answer.access_token)) {
    throw new IssuerProblem('refusal', 'the issuer gives a token that cannot be sent in a header');
  }
  const { access_token: value, expires_in: expiresIn, refresh_token: refreshToken } = answer;
  return { value, expiresIn, ...(refreshToken !== undefined && { refreshToken }) };
}
