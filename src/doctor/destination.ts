import { readFileSync } from 'node:fs';
import { createIssuerClient } from '../auth/issuer-client.ts';
import { parseCertificates } from '../certificates.ts';
import { clientSecretOf, issuerOptionsOf } from '../config/client-credentials.ts';
import type { ClientCredentialsConfig } from '../config/client-credentials.ts';
import type { Config } from '../config/schema.ts';
import { tlsFilesOf } from '../config/tls-files.ts';
import { createHttpClient } from '../destinations/http-client.ts';
import type { TlsFiles } from '../destinations/http-client.ts';
import { withTrailingSlash } from '../destinations/mlflow.ts';
import type { Pair } from '../destinations/one-mlflow.ts';
import { accountWords } from '../destinations/token-words.ts';
import { createLogger } from '../telemetry/logger.ts';
import { checkTimes, checkUsage } from './certificates.ts';
import { ok } from './checkup.ts';
import type { Checkup, Done } from './checkup.ts';
import { checkClaim } from './claims.ts';
import { checkClock, checkTokenTimes } from './clocks.ts';
import { checkExperiment, checkPermission } from './experiment.ts';
import { checkClosedFile, checkSecret } from './files.ts';
import { checkClient, checkDiscovery, checkLifetime, metadataUrlOf, readIssuerClock } from './issuer.ts';
import type { Granted } from './issuer.ts';
import {
  checkConnection,
  checkHealth,
  checkOpenness,
  checkPair,
  checkRoute,
  checkStore,
  checkToken,
  checkVersion,
} from './mlflow.ts';
import { watchPeers } from './peers.ts';
import type { Peers } from './peers.ts';
import { checkUnsigned } from './unsigned-token.ts';
import type { Answered, Upstream } from './upstream.ts';
import { checkAddress } from './way.ts';

type DestinationConfig = Config['destinations'][string];

/** What the report says, the relay's own code need not say as well. */
const LOG = createLogger('fatal');

/** Where the CAs stand, without a file of their own. */
const TRUST_STORE = 'the trust store of Node (NODE_EXTRA_CA_CERTS)';

/**
 * The way to one MLflow: its issuer first, then MLflow as a client with that token.
 * @param pairs of it and another destination that name one MLflow
 */
export async function examineDestination(
  checkup: Checkup,
  name: string,
  config: DestinationConfig,
  pairs: readonly Pair[],
): Promise<void> {
  const { auth } = config;
  const peers = watchPeers();
  try {
    const granted = auth.kind === 'none' ? undefined : await examineIssuer(checkup, name, auth, peers);
    await examineMlflow(checkup, { name, config, pairs }, granted, peers);
  } finally {
    peers.stop();
  }
}

async function examineIssuer(
  checkup: Checkup,
  name: string,
  auth: ClientCredentialsConfig,
  peers: Peers,
): Promise<Done<Granted>> {
  const keys = `destinations.${name}.auth`;
  const options = issuerOptionsOf(auth);
  const client = createIssuerClient(options);
  const { client_secret_file: secretFile } = auth;

  await checkup.check('client secret', [], () => checkSecret(secretFile));
  const address = await checkup.check('issuer address', [], () =>
    checkAddress(
      metadataUrlOf(options),
      `${keys}.${options.issuer === undefined ? 'discovery_url' : 'issuer'}`,
      auth.timeout,
    ),
  );
  const discovery = await checkup.check('issuer discovery', [address], () =>
    checkDiscovery(client, options, keys),
  );
  const trusted = options.caFile === undefined ? TRUST_STORE : `${keys}.ca_file`;
  await examinePeer(checkup, 'issuer certificate', metadataUrlOf(options), discovery, peers, trusted);
  const granted = await checkup.check('client authentication', [discovery], async (metadata) => {
    return checkClient(client, metadata, await clientSecretOf(auth)(), options, keys);
  });
  await checkup.check('token lifetime', [granted], (token) => checkLifetime(token, auth.timeout));
  await checkup.check('issuer clock', [granted], async ({ issuedAt }) =>
    checkClock('the issuer', {
      'its token': issuedAt,
      'its answer': await readIssuerClock(options, name, LOG),
    }),
  );
  return granted;
}

type Examinee = {
  readonly name: string;
  readonly config: DestinationConfig;
  readonly pairs: readonly Pair[];
};

/** @param granted undefined: no token is configured */
async function examineMlflow(
  checkup: Checkup,
  { name, config, pairs }: Examinee,
  granted: Done<Granted> | undefined,
  peers: Peers,
): Promise<void> {
  const { url, timeout, workspace, repair } = config;
  const token = granted?.found?.value;
  const tls = tlsFilesOf(config.tls);
  const common = { name, tls, timeoutMs: timeout, maxResponseSize: config.max_response_size };
  const base = withTrailingSlash(new URL(url));
  const keys = keysOf(name);

  const upstream = await checkup.check('TLS files', [], () =>
    ok(tls.caFile === undefined ? 'the CAs that Node trusts are trusted' : `${tls.caFile} can be used`, {
      base,
      http: createHttpClient(common, LOG),
      token: token?.value,
      workspace,
      experiment: config.experiment,
      account: accountWords(token?.claims),
      keys,
    } satisfies Upstream),
  );
  await examineClientCertificate(checkup, tls, upstream);
  const address = await checkup.check('MLflow address', [], () => checkAddress(base, keys.url, timeout));
  const connection = await checkup.check('MLflow connection', [upstream, address], (to) =>
    checkConnection(to, granted !== undefined && token === undefined),
  );
  const trusted = tls.caFile === undefined ? TRUST_STORE : keys.caFile;
  await examinePeer(checkup, 'MLflow certificate', base, connection, peers, trusted);
  const health = await checkup.check('MLflow health', [upstream, connection], checkHealth);
  // Without its token all that is asked with one would only be refused.
  const needed = granted === undefined ? [connection] : [connection, granted];
  const version = await checkup.check('MLflow version', [upstream, ...needed], checkVersion);
  for (const pair of pairs) {
    await checkup.check('other destinations', [], () => checkPair(pair, version.found?.value));
  }
  await checkup.check('MLflow store', [upstream, ...needed], checkStore);
  const openness = await checkup.check('requests without a token', [upstream, connection], (to) =>
    checkOpenness(to, granted !== undefined),
  );
  const route = await checkup.check('OTLP route', [upstream, ...needed], checkRoute);
  // The time that something else than MLflow tells says nothing.
  await checkup.check('MLflow clock', [health, route], (_, { clock }) =>
    checkClock('MLflow', { 'its answer': clock }),
  );
  const taken =
    granted === undefined ? openness : await examineToken(checkup, granted, upstream, health, route);
  const id = await checkup.check('experiment', [upstream, route, taken], (to) => checkExperiment(to, LOG));
  await checkup.check('permission', [upstream, id], (to, experimentId) =>
    checkPermission(to, experimentId, { ...common, url: new URL(url), workspace, repair }, token, LOG),
  );
  await upstream.found?.value.http.close();
}

async function examineToken(
  checkup: Checkup,
  granted: Done<Granted>,
  upstream: Done<Upstream>,
  health: Done<undefined>,
  route: Done<Answered>,
): Promise<Done<undefined>> {
  await checkup.check('token times', [health, route, granted], (_, { clock }, { issuedAt, lifetimeMs }) =>
    checkTokenTimes(issuedAt, clock, lifetimeMs),
  );
  const taken = await checkup.check('token', [upstream, route, granted], checkToken);
  const isTaken = route.found === undefined ? undefined : taken.found !== undefined;
  for (const [name, claim] of [
    ['token audience', 'audience'],
    ['token user name', 'username'],
    ['token groups', 'groups'],
  ] as const) {
    await checkup.check(name, [granted], ({ claims }) => checkClaim(claim, claims, isTaken));
  }
  await checkup.check('unsigned token', [upstream, taken, granted], (to, _, { value }) =>
    checkUnsigned(to, value),
  );
  return taken;
}

/** @param connection by which it was shown */
async function examinePeer(
  checkup: Checkup,
  name: string,
  url: URL,
  connection: Done<unknown>,
  peers: Peers,
  trusted: string,
): Promise<void> {
  if (url.protocol !== 'https:') return;
  await checkup.check(name, [connection], () => peers.check(url, Date.now(), trusted));
}

async function examineClientCertificate(
  checkup: Checkup,
  { certFile, keyFile }: TlsFiles,
  usable: Done<unknown>,
): Promise<void> {
  if (certFile === undefined || keyFile === undefined) return;
  await checkup.check('client key file', [], () => checkClosedFile(keyFile));
  const chain = await checkup.check('client certificate', [usable], () => {
    const certificates = parseCertificates(readFileSync(certFile, 'latin1'));
    const usage = checkUsage(certificates[0]!, 'clientAuth', certFile);
    return usage.state === 'failed' ? usage : ok(usage.words, certificates);
  });
  await checkup.check('client certificate time', [chain], (certificates) =>
    checkTimes(certificates, Date.now(), certFile),
  );
}

function keysOf(name: string): Upstream['keys'] {
  const destination = `destinations.${name}`;
  return {
    url: `${destination}.url`,
    caFile: `${destination}.tls.ca_file`,
    certFile: `${destination}.tls.cert_file`,
  };
}
