import { createClientCredentials } from './auth/client-credentials.ts';
import type { TokenSource } from './auth/token-source.ts';
import { clientSecretOf, issuerOptionsOf } from './config/client-credentials.ts';
import type { Config } from './config/schema.ts';
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
    { destination, ...issuerOptionsOf(auth), clientSecret: clientSecretOf(auth) },
    deps,
  );
}
