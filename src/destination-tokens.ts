import { createClientCredentials } from './auth/client-credentials.ts';
import type { TokenSource } from './auth/token-source.ts';
import type { Config } from './config/schema.ts';
import { secretReader } from './config/secret.ts';
import type { Logger } from './telemetry/logger.ts';
import type { Metrics } from './telemetry/metrics.ts';

/** Tokens as the configuration of a destination says; undefined where it wants none. */
export function createTokens(
  destination: string,
  { auth }: Config['destinations'][string],
  deps: { metrics: Metrics; log: Logger },
): TokenSource | undefined {
  if (auth.kind === 'none') return undefined;
  return createClientCredentials(
    {
      destination,
      issuer: auth.issuer,
      discoveryUrl: auth.discovery_url,
      clientId: auth.client_id,
      clientSecret: secretReader(
        auth.client_secret_file === undefined
          ? { value: auth.client_secret ?? '' }
          : { file: auth.client_secret_file },
      ),
      scope: auth.scope,
      audience: auth.audience,
      resource: auth.resource,
      caFile: auth.ca_file,
      allowHttp: auth.allow_http,
      timeoutMs: auth.timeout,
    },
    deps,
  );
}
