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
  return granted(client, asking, 'client_credentials', (config) =>
    oauth.clientCredentialsGrant(config, client.parameters),
  );
}

/** RFC 6749 section 6. */
export function byRefreshToken(client: IssuerClient, asking: Asking, refreshToken: string): Promise<Grant> {
  return granted(client, asking, 'refresh_token', (config) => oauth.refreshTokenGrant(config, refreshToken));
}

/** RFC 6749 section 4.3, which RFC 9700 section 2.4 tells not to use: for users of tests. */
export function byPassword(
  client: IssuerClient,
  asking: Asking,
  { username, password }: { readonly username: string; readonly password: string },
): Promise<Grant> {
  return granted(client, asking, 'password', (config) =>
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
  const login = await client.run(asking, 'device_code', async (config, masked) => {
    const answer = await oauth.initiateDeviceAuthorization(config, client.parameters);
    const { verification_uri, verification_uri_complete: completeUrl, user_code, expires_in } = answer;
    tell({
      url: masked(verification_uri),
      completeUrl: completeUrl === undefined ? undefined : masked(completeUrl),
      code: masked(user_code),
      expiresInSeconds: expires_in,
    });
    return answer;
  });
  const over = AbortSignal.timeout(login.expires_in * 1000);
  const signal = AbortSignal.any([asking.signal, over]);
  try {
    return await granted(client, asking, 'device_code', (config) =>
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
  await client.run(asking, 'client_credentials', (config) => oauth.tokenRevocation(config, token));
}

async function granted(
  client: IssuerClient,
  asking: Asking,
  grant: GrantKind,
  step: (config: oauth.Configuration) => Promise<oauth.TokenEndpointResponse>,
): Promise<Grant> {
  return client.run(asking, grant, async (config, masked) => {
    const answer = await step(config);
    if (answer.token_type !== 'bearer') {
      const kind = quote(masked(answer.token_type));
      throw new IssuerProblem('refusal', `the issuer gives ${kind} tokens, not bearer`);
    }
    // It stands in headers and in shells: RFC 6750 section 2.1 allows less than this.
    if (!/^[\x21-\x7e]+$/.test(answer.access_token)) {
      throw new IssuerProblem('refusal', 'the issuer gives a token that cannot be sent in a header');
    }
    const { access_token: value, expires_in: expiresIn, refresh_token: refreshToken } = answer;
    return { value, expiresIn, ...(refreshToken !== undefined && { refreshToken }) };
  });
}
