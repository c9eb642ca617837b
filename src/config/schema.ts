import * as z from 'zod';
import { LOG_LEVELS } from '../telemetry/logger.ts';
import { destinationSchema } from './destination-schema.ts';
import { address, clientPattern, duration, file, flag, rule, section, size, text, whole } from './fields.ts';
import { parseSize } from './units.ts';

/*
 * Every key of the configuration: its default, limits and meaning. The comments of config/relay.yaml and
 * config/relay.schema.json come from here; tests hold them to it.
 */

const DEFAULT_RESOURCE_SIZE = '1MiB';

const receiverTls = section({
  cert_file: file('the certificate of the receiver, PEM').describe(
    'Certificate of the receiver with its chain, PEM.',
  ),
  key_file: file('the private key of that certificate, PEM').describe(
    'Private key of that certificate, PEM.',
  ),
  client_ca_file: file('the CA certificates of the clients, PEM').describe(
    'Clients must show a certificate signed by one of these CAs, PEM. Certificates alone: a revocation list or a key in it is refused.',
  ),
});

const receiverKeys = section(
  {
    listen: address()
      .prefault('127.0.0.1:4318')
      .describe('Address and port for OTLP/HTTP; port 0 takes a free one.'),
    tls: receiverTls
      .optional()
      .describe('Mutual TLS, version 1.2 or later. The files are read again when they change.'),
    plaintext: flag()
      .prefault(false)
      .describe(
        'true in place of tls: take traces from anybody who reaches the port, unencrypted. For a loopback address or a trusted proxy only.',
      ),
    allowed_clients: z
      .array(clientPattern(), { error: 'expected a list of identities' })
      .max(1000, { error: 'expected at most 1000 identities' })
      .prefault([])
      .describe(
        'Who may send: SPIFFE ids or DNS names in client certificates; * is any part of one segment or label. Empty: every certificate that the CA signed.',
      ),
    repair: flag()
      .prefault(true)
      .describe(
        'Text that is no UTF-8, and half a surrogate pair in JSON, is replaced by U+FFFD, and what has it marked by the attribute relay.repaired. false: it is left out, with a resource or scope all spans under it.',
      ),
    max_request_body_size: size('1KiB', '256MiB')
      .prefault('64MiB')
      .describe('Largest request body, before and after decompression (1KiB to 256MiB).'),
    max_resource_size: size('4KiB', '64MiB')
      .prefault(DEFAULT_RESOURCE_SIZE)
      .describe(
        'Largest resource, and largest scope, each with its attributes, schema URL and unknown fields; it goes to MLflow again with every request. Spans under a larger one are left out (4KiB to 64MiB, and no more than max_request_body_size).',
      ),
  },
  'a map such as {tls: {cert_file: …, key_file: …, client_ca_file: …}}',
);

const receiverOfClients = rule(
  rule(receiverKeys, (value) => (value['tls'] !== undefined) !== (value['plaintext'] === true), {
    error: (value) =>
      value['tls'] === undefined
        ? 'must say how clients are recognised: tls: {cert_file: …, key_file: …, client_ca_file: …}; or plaintext: true, to take traces from anybody'
        : 'has both tls and plaintext: true; leave one of them out',
  }),
  (value) => {
    const clients = value['allowed_clients'];
    return value['plaintext'] !== true || !Array.isArray(clients) || clients.length === 0;
  },
  {
    path: ['allowed_clients'],
    error: () => 'cannot be held without tls: clients are recognised by their certificates',
  },
);

/** The default is no wish of anybody's, so smaller requests may be asked for without a word about resources. */
const receiver = rule(
  receiverOfClients,
  ({ max_resource_size: resource, max_request_body_size: body }) =>
    typeof resource !== 'number' ||
    typeof body !== 'number' ||
    resource <= body ||
    resource === parseSize(DEFAULT_RESOURCE_SIZE),
  {
    path: ['max_resource_size'],
    error: () =>
      'must not be larger than receiver.max_request_body_size (64MiB by default): no larger resource can come in a request',
  },
).meta({
  oneOf: [{ required: ['tls'] }, { required: ['plaintext'], properties: { plaintext: { const: true } } }],
});

const queue = section(
  {
    directory: text('the path of a folder', 4096).describe(
      'Folder of the queue, on a disk that survives a restart; made if missing. One relay only.',
    ),
    max_size: size('1MiB', '65536GiB')
      .prefault('4GiB')
      .describe(
        'Disk space of waiting traces; when it is full, clients get 503 and try again. The last tenth is for senders that have less than their fair share in it. Dead letters may take a quarter of it on top (1MiB to 65536GiB, and more than receiver.max_request_body_size).',
      ),
  },
  'a map such as {directory: /var/lib/mlflow-trace-relay}',
);

/** Each has a window in memory, and connections of its own. */
const MAX_DESTINATIONS = 16;

export const destinationsSchema = z
  .record(
    z.string().regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, {
      error:
        'is no name of a destination: use lower-case letters, digits, - and _, at most 63, and start with a letter or digit',
    }),
    destinationSchema,
    {
      error: (issue) =>
        issue.code !== 'invalid_type'
          ? undefined
          : 'expected a map: the name of each destination, and under it kind, url, experiment and auth',
    },
  )
  .refine((value) => Object.keys(value).length >= 1 && Object.keys(value).length <= MAX_DESTINATIONS, {
    error: `must have 1 to ${MAX_DESTINATIONS} destinations`,
  })
  .meta({ minProperties: 1, maxProperties: MAX_DESTINATIONS });

const delivery = section({
  trace_wait: duration('0s', '10m')
    .prefault('5s')
    .describe(
      'How long the spans of a trace wait for its root span, to reach MLflow in one request; a trace whose root is there goes at once (0s to 10m).',
    ),
  max_batch_spans: whole(1, 100_000).prefault(1000).describe('Most spans in one request (1 to 100000).'),
  max_batch_size: size('64KiB', '64MiB')
    .prefault('4MiB')
    .describe('Largest request, before compression (64KiB to 64MiB).'),
  max_in_flight: whole(1, 256).prefault(8).describe('Most requests to the upstream at once (1 to 256).'),
  window_size: size('1MiB', '16GiB')
    .prefault('64MiB')
    .describe(
      'Memory, for each destination, for spans that wait for the rest of their trace, or for an answer; also about the most that is sent again after a crash, sixteen times that beside a search for refused spans (1MiB to 16GiB).',
    ),
});

const configKeys = section(
  {
    receiver: receiver.describe('Where traces come in.'),
    queue: queue.describe('Where traces wait on disk. A client is answered 200 once they are there.'),
    destinations: destinationsSchema.describe(
      'Where traces go, by name: metrics and logs carry the name. Each gets every trace, at its own pace; a new one those that come from then on. What waits for one that is renamed or taken out stays on disk until it is named again, or given up by the command queue forget (1 to 16).',
    ),
    routes: z
      .array(z.unknown(), { error: 'expected a list, and an empty one: routes are not available yet' })
      .max(0, {
        error: 'are not available yet: leave the list empty, and every trace goes to every destination',
      })
      .prefault([])
      .describe('Not available yet; every trace goes to every destination.'),
    delivery: delivery.prefault({}).describe('How traces are put together and sent.'),
    admin: section({
      listen: address()
        .prefault('127.0.0.1:9464')
        .describe('Address and port of /livez, /readyz, /metrics and /status; port 0 takes a free one.'),
    })
      .prefault({})
      .describe('Health and metrics, for people and machines that run the relay.'),
    log: section({
      level: z
        .enum(LOG_LEVELS, { error: `expected one of ${LOG_LEVELS.join(', ')}` })
        .prefault('info')
        .describe(`Least severe level that is logged: ${LOG_LEVELS.join(', ')}.`),
    })
      .prefault({})
      .describe('Log on standard output, one JSON object a line.'),
    shutdown_timeout: duration('0s', '10m')
      .prefault('25s')
      .describe(
        'Longest time to finish what is in hand after SIGTERM or SIGINT; what is left stays on disk (0s to 10m).',
      ),
  },
  'a map of receiver, queue, destinations, and more',
);

export const configSchema = rule(
  configKeys,
  (value) => {
    const body = (value['receiver'] as Partial<Config['receiver']> | undefined)?.max_request_body_size;
    const max = (value['queue'] as Partial<Config['queue']> | undefined)?.max_size;
    return typeof body !== 'number' || typeof max !== 'number' || max > body;
  },
  {
    path: ['queue', 'max_size'],
    error: () =>
      'must be larger than receiver.max_request_body_size (64MiB by default), or some requests can never be taken',
  },
);

/**
 * The effective configuration: every default filled in, sizes in bytes, times in milliseconds, addresses as
 * host and port, paths of files absolute.
 */
export type Config = z.output<typeof configKeys>;
