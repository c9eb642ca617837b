import * as z from 'zod';
import {
  duration,
  exactlyOne,
  file,
  flag,
  httpUrl,
  httpsUnlessAllowed,
  rule,
  section,
  size,
  text,
} from './fields.ts';

/** Keys whose values are never shown to anybody. */
export const SECRET_KEYS: ReadonlySet<string> = new Set(['client_secret']);

const clientCredentialsKeys = section({
  kind: z
    .literal('client_credentials')
    .describe('OAuth 2.0 client credentials; a token is fetched before the old one ends.'),
  issuer: httpUrl('the URL of the issuer, such as https://keycloak.example.com/realms/mlflow')
    .optional()
    .describe('Issuer; its OpenID or OAuth discovery document is found under it.'),
  discovery_url: httpUrl('the URL of a discovery document')
    .optional()
    .describe('In place of issuer: the discovery document itself.'),
  client_id: text('the client id of the relay').describe('Client id of the relay.'),
  client_secret_file: file('a file that holds the client secret')
    .optional()
    .describe('File that holds the client secret; read for each token, so it may be rotated.'),
  client_secret: text('the client secret, as ${env:NAME}', 65_536)
    .optional()
    .describe('In place of client_secret_file: the client secret from the environment, as ${env:NAME}.'),
  scope: text('scopes, separated by spaces').optional().describe('Scopes to ask for, separated by spaces.'),
  audience: text('an audience')
    .optional()
    .describe('Value of the parameter "audience", where the issuer knows it.'),
  resource: text('a resource, an absolute URI', 2048)
    .refine((uri) => URL.canParse(uri) && !uri.includes('#'), {
      error: 'expected an absolute URI without a fragment (#)',
    })
    .optional()
    .describe('Value of the parameter "resource" (RFC 8707), an absolute URI.'),
  ca_file: file('CA certificates, PEM')
    .optional()
    .describe('CA certificates of the issuer, PEM; left out: those that Node trusts.'),
  timeout: duration('100ms', '10m')
    .prefault('10s')
    .describe('Longest wait for an answer of the issuer (100ms to 10m).'),
  allow_http: flag()
    .prefault(false)
    .describe(
      'true: the issuer may be http:// on another machine. The client secret can be read on the way.',
    ),
});

const clientCredentialsExclusive = exactlyOne(
  exactlyOne(clientCredentialsKeys, ['issuer', 'discovery_url'], {
    none: 'must say where tokens come from: issuer, or discovery_url',
    several: 'has both issuer and discovery_url; leave one of them out',
  }),
  ['client_secret_file', 'client_secret'],
  {
    none: 'must say where the client secret is: client_secret_file, or client_secret: ${env:NAME}',
    several: 'has both client_secret_file and client_secret; leave one of them out',
  },
);

const clientCredentials = httpsUnlessAllowed(
  httpsUnlessAllowed(clientCredentialsExclusive, 'issuer'),
  'discovery_url',
);

const noAuth = section({
  kind: z.literal('none').describe('Requests go out without a token.'),
});

const experimentKeys = exactlyOne(
  section(
    {
      id: text('digits in quotes, such as "1"', 64)
        .regex(/^[0-9]+$/, { error: 'expected digits in quotes, such as "1"' })
        .optional()
        .describe('Id of the experiment, in quotes.'),
      name: text('the name of an experiment', 500)
        .optional()
        .describe('In place of id: name of the experiment; created if missing.'),
    },
    'a map: either {name: traces} or {id: "1"}',
  ),
  ['id', 'name'],
  {
    none: 'must name the experiment: {name: traces} or {id: "1"}',
    several: 'has both id and name; leave one of them out',
  },
);

const experiment = z.codec(experimentKeys, z.custom<{ id: string } | { name: string }>(), {
  // Exactly one of them stands: the rule above has been checked by now.
  decode: ({ id, name }) => (id === undefined ? { name: name ?? '' } : { id }),
  encode: (target) => target,
});

const upstreamTls = rule(
  section({
    ca_file: file('CA certificates, PEM')
      .optional()
      .describe('CA certificates of the upstream, PEM; left out: those that Node trusts.'),
    cert_file: file('a client certificate, PEM')
      .optional()
      .describe('Client certificate to show to the upstream, PEM; needs key_file.'),
    key_file: file('the private key of the client certificate, PEM')
      .optional()
      .describe('Private key of that certificate, PEM.'),
  }),
  (value) => (value['cert_file'] === undefined) === (value['key_file'] === undefined),
  { error: () => 'has only one of cert_file and key_file; a client certificate needs both' },
).meta({ dependentRequired: { cert_file: ['key_file'], key_file: ['cert_file'] } });

const mlflowUrl = httpUrl('the URL of MLflow, such as https://mlflow.example.com').refine(
  (url) => !/\/(v1\/traces|api\/2\.0(\/mlflow)?)\/*$/.test(url),
  { error: 'must be the URL of MLflow itself: leave /v1/traces and /api/2.0 out, they are added' },
);

/** One upstream. */
export const destinationSchema = httpsUnlessAllowed(
  section(
    {
      kind: z.literal('mlflow', { error: 'expected mlflow' }).describe('Kind of the upstream: mlflow.'),
      url: mlflowUrl.describe(
        'URL of MLflow; /v1/traces and its REST API are found under it, so a base path is kept.',
      ),
      experiment: experiment.describe('Experiment that the traces go to.'),
      workspace: text('the name of a workspace', 256)
        .optional()
        .describe('Workspace of the experiment, where MLflow has workspaces.'),
      auth: z
        .discriminatedUnion('kind', [clientCredentials, noAuth])
        .describe('How the relay shows who it is: client_credentials, or none.'),
      tls: upstreamTls.optional().describe('How the upstream is trusted, and a client certificate for it.'),
      timeout: duration('100ms', '10m')
        .prefault('30s')
        .describe('Longest time of one request, from connecting to the end of its answer (100ms to 10m).'),
      max_response_size: size('1KiB', '64MiB')
        .prefault('4MiB')
        .describe(
          'Largest answer that is read; a larger one is a failure (1KiB to 64MiB). Of an error its first 16 KiB are read.',
        ),
      repair: flag()
        .prefault(true)
        .describe(
          'Whether a span that MLflow refuses for one attribute, text or time (a session id over 250 characters, a cost that is no object, NUL on PostgreSQL, a time beyond 2^63) is sent with it cut, replaced or left out, marked by the attribute relay.repaired; as it came it is kept as a dead letter.',
        ),
      allow_http: flag()
        .prefault(false)
        .describe('true: url may be http:// on another machine. Traces and tokens can be read on the way.'),
    },
    'a map with kind, url, experiment and auth',
  ),
  'url',
);
