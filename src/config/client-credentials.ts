import type { Config } from './schema.ts';
import { secretReader } from './secret.ts';

/** What a destination says of its tokens. */
export type ClientCredentialsConfig = Extract<
  Config['destinations'][string]['auth'],
  { kind: 'client_credentials' }
>;

/** Whom to ask for tokens, and how; the names are those of `src/auth`. */
export function issuerOptionsOf(auth: ClientCredentialsConfig) {
  return {
    issuer: auth.issuer,
    discoveryUrl: auth.discovery_url,
    clientId: auth.client_id,
    scope: auth.scope,
    audience: auth.audience,
    resource: auth.resource,
    caFile: auth.ca_file,
    allowHttp: auth.allow_http,
    timeoutMs: auth.timeout,
  };
}

/** Reads it at each call, as it may be rotated. */
export function clientSecretOf(auth: ClientCredentialsConfig): () => Promise<string> {
  return secretReader(
    auth.client_secret_file === undefined
      ? { value: auth.client_secret ?? '' }
      : { file: auth.client_secret_file },
  );
}
