import { describe, expect, test } from 'vitest';
import { LEAST, changed, load, problemsOf, receiverWith, upstreamWith, withAuth } from './configurations.ts';

const SIZE = 'expected a size such as 64MiB';
const TLS = 'tls: {cert_file: …, key_file: …, client_ca_file: …}';

test('requests may be smaller than the default of a resource, which nobody asked for', () => {
  expect(load(receiverWith('max_request_body_size: 64KiB')).receiver).toMatchObject({
    max_request_body_size: 65_536,
    max_resource_size: 1_048_576,
  });
});

describe('a configuration that cannot be used is refused with file, line, column and key', () => {
  test.each<[string, string, string]>([
    // Keys
    [
      'an unknown key',
      receiverWith('lisen: x'),
      'relay.yaml:3:3 receiver.lisen: unknown key; did you mean listen?',
    ],
    [
      'an unknown key at the top',
      `${LEAST}reciever: {}\n`,
      'relay.yaml:9:1 reciever: unknown key; did you mean receiver?',
    ],
    [
      'an unknown key like no other',
      LEAST + 'admin: {password: hunter2}\n',
      'relay.yaml:9:9 admin.password: unknown key; known here: listen',
    ],
    [
      'a key of another way to authenticate',
      changed('{kind: none}', '{kind: none, issuer: x}'),
      'relay.yaml:8:24 destinations.mlflow.auth.issuer: unknown key; known here: kind',
    ],
    [
      'a key that is no word',
      receiverWith('"a b\\n": 1'),
      'relay.yaml:3:3 receiver."a b\\n": unknown key; known here: listen, tls, plaintext, allowed_clients, repair, max_request_body_size, max_resource_size',
    ],
    [
      'a key named __proto__',
      LEAST + '__proto__: {receiver: 1}\n',
      'relay.yaml:9:1 __proto__: unknown key; known here: receiver, queue, destinations, routes, delivery, admin, log, shutdown_timeout',
    ],
    [
      'a merge key',
      LEAST + '<<: {}\n',
      'relay.yaml:9:1 "<<": unknown key; known here: receiver, queue, destinations, routes, delivery, admin, log, shutdown_timeout',
    ],
    ['a map as a key', LEAST + '{a: 1}: 2\n', 'relay.yaml:9:1 has a key that is no text'],

    // Sizes, times, numbers
    [
      'potatoes',
      receiverWith('max_request_body_size: 64 potatoes'),
      `relay.yaml:3:3 receiver.max_request_body_size: ${SIZE}, got "64 potatoes"`,
    ],
    [
      'decimal units',
      receiverWith('max_request_body_size: 64 MB'),
      `relay.yaml:3:3 receiver.max_request_body_size: ${SIZE} (units are B, KiB, MiB and GiB; write 64MiB), got "64 MB"`,
    ],
    [
      'a size without a unit',
      receiverWith('max_request_body_size: 64'),
      `relay.yaml:3:3 receiver.max_request_body_size: ${SIZE}, got 64`,
    ],
    [
      'a size that is too large',
      receiverWith('max_request_body_size: 1GiB'),
      'relay.yaml:3:3 receiver.max_request_body_size: expected a size from 1KiB to 256MiB, got "1GiB"',
    ],
    [
      'a size that is too small',
      LEAST.replace('queue: {', 'queue: {max_size: 0B, '),
      'relay.yaml:2:9 queue.max_size: expected a size from 1MiB to 65536GiB, got "0B"',
    ],
    [
      'a time without a unit',
      LEAST + 'shutdown_timeout: 25\n',
      'relay.yaml:9:1 shutdown_timeout: expected a time such as 5s (units are ms, s, m and h), got 25',
    ],
    [
      'a time that is too long',
      LEAST + 'delivery: {trace_wait: 1h}\n',
      'relay.yaml:9:12 delivery.trace_wait: expected a time from 0s to 10m, got "1h"',
    ],
    [
      'a number out of its range',
      LEAST + 'delivery: {max_in_flight: 0}\n',
      'relay.yaml:9:12 delivery.max_in_flight: expected a whole number from 1 to 256, got 0',
    ],
    [
      'half a span',
      LEAST + 'delivery: {max_batch_spans: 1.5}\n',
      'relay.yaml:9:12 delivery.max_batch_spans: expected a whole number from 1 to 100000, got 1.5',
    ],
    [
      'a number as text',
      LEAST + 'delivery: {max_batch_spans: "10"}\n',
      'relay.yaml:9:12 delivery.max_batch_spans: expected a whole number from 1 to 100000, got "10"',
    ],
    [
      'not a number',
      LEAST + 'delivery: {max_batch_spans: .nan}\n',
      'relay.yaml:9:12 delivery.max_batch_spans: expected a whole number from 1 to 100000, got NaN',
    ],
    [
      'a queue smaller than a request',
      LEAST.replace('queue: {', 'queue: {max_size: 64MiB, '),
      'relay.yaml:2:9 queue.max_size: must be larger than receiver.max_request_body_size (64MiB by default), or some requests can never be taken',
    ],
    [
      'a resource larger than a request',
      receiverWith('max_request_body_size: 2MiB\n  max_resource_size: 3MiB'),
      'relay.yaml:4:3 receiver.max_resource_size: must not be larger than receiver.max_request_body_size (64MiB by default): no larger resource can come in a request',
    ],

    // Types
    [
      'a word for true',
      changed('true', 'yes'),
      `relay.yaml:1:12 receiver.plaintext: expected true or false, got "yes"\nrelay.yaml:1:1 receiver: must say how clients are recognised: ${TLS}; or plaintext: true, to take traces from anybody`,
    ],
    [
      'a map that is empty space',
      changed('queue: {directory: queue}', 'queue:'),
      'relay.yaml:2:1 queue: expected a map such as {directory: /var/lib/mlflow-trace-relay}, got nothing',
    ],
    [
      'a list in place of a map',
      changed('{plaintext: true}', '[]'),
      `relay.yaml:1:1 receiver: expected a map such as {${TLS}}, got a list`,
    ],
    [
      'text in place of the whole',
      'hunter2\n',
      'relay.yaml:1:1 expected a map of receiver, queue, destinations, and more, got a text',
    ],
    [
      'text in place of a list',
      receiverWith('allowed_clients: a'),
      'relay.yaml:3:3 receiver.allowed_clients: expected a list of identities, got a text',
    ],
    [
      'an unknown level',
      LEAST + 'log: {level: loud}\n',
      'relay.yaml:9:7 log.level: expected one of fatal, error, warn, info, debug, trace, got "loud"',
    ],
    [
      'an unknown kind',
      changed('kind: mlflow', 'kind: phoenix'),
      'relay.yaml:5:5 destinations.mlflow.kind: expected mlflow, got "phoenix"',
    ],
    [
      'a very long value',
      LEAST + `log: {level: ${'x'.repeat(99)}}\n`,
      `relay.yaml:9:7 log.level: expected one of fatal, error, warn, info, debug, trace, got "${'x'.repeat(60)}…"`,
    ],

    // What is missing
    [
      'no receiver',
      changed('receiver: {plaintext: true}\n', ''),
      `relay.yaml:1:1 receiver: is missing: expected a map such as {${TLS}}`,
    ],
    [
      'no url',
      changed('    url: https://mlflow\n', ''),
      'relay.yaml:4:3 destinations.mlflow.url: is missing: expected the URL of MLflow, such as https://mlflow.example.com',
    ],
    [
      'no experiment',
      changed('    experiment: {name: traces}\n', ''),
      'relay.yaml:4:3 destinations.mlflow.experiment: is missing: expected a map: either {name: traces} or {id: "1"}',
    ],
    [
      'no auth',
      changed('    auth: {kind: none}\n', ''),
      'relay.yaml:4:3 destinations.mlflow.auth: is missing: expected a map of keys',
    ],
    [
      'no kind of auth',
      changed('{kind: none}', '{}'),
      'relay.yaml:8:5 destinations.mlflow.auth.kind: is missing: expected one of client_credentials, none',
    ],
    [
      'no destination',
      LEAST.slice(0, LEAST.indexOf('destinations:')) + 'destinations: {}\n',
      'relay.yaml:3:1 destinations: must have 1 to 16 destinations',
    ],
    [
      'nothing at all',
      '',
      'relay.yaml:1:1 the file is empty: it needs at least receiver, queue and destinations',
    ],
    [
      'only a comment',
      '# later\n',
      'relay.yaml:1:1 the file is empty: it needs at least receiver, queue and destinations',
    ],

    // What does not go together
    [
      'plaintext that is not said',
      changed('{plaintext: true}', '{listen: 127.0.0.1:1}'),
      `relay.yaml:1:1 receiver: must say how clients are recognised: ${TLS}; or plaintext: true, to take traces from anybody`,
    ],
    [
      'tls and plaintext',
      receiverWith('tls: {cert_file: relay.yaml, key_file: relay.yaml, client_ca_file: relay.yaml}'),
      'relay.yaml:1:1 receiver: has both tls and plaintext: true; leave one of them out',
    ],
    [
      'allowed clients that nobody can recognise',
      receiverWith('allowed_clients: [a]'),
      'relay.yaml:3:3 receiver.allowed_clients: cannot be held without tls: clients are recognised by their certificates',
    ],
    [
      'the name of a subject as a pattern',
      changed(
        '{plaintext: true}',
        '{allowed_clients: [a, CN=b], tls: {cert_file: relay.yaml, key_file: relay.yaml, client_ca_file: relay.yaml}}',
      ),
      'relay.yaml:1:33 receiver.allowed_clients[1]: expected a SPIFFE id or a DNS name, such as spiffe://cluster.local/ns/observability/sa/*, got "CN=b"',
    ],
    [
      'two experiments',
      changed('{name: traces}', '{name: traces, id: "1"}'),
      'relay.yaml:7:5 destinations.mlflow.experiment: has both id and name; leave one of them out',
    ],
    [
      'no experiment in the map',
      changed('{name: traces}', '{}'),
      'relay.yaml:7:5 destinations.mlflow.experiment: must name the experiment: {name: traces} or {id: "1"}',
    ],
    [
      'an empty id, said once',
      changed('{name: traces}', '{id: ""}'),
      'relay.yaml:7:18 destinations.mlflow.experiment.id: expected digits in quotes, such as "1", got ""',
    ],
    [
      'an id without quotes',
      changed('{name: traces}', '{id: 1}'),
      'relay.yaml:7:18 destinations.mlflow.experiment.id: expected digits in quotes, such as "1", got 1',
    ],
    [
      'an id that is none',
      changed('{name: traces}', '{id: traces}'),
      'relay.yaml:7:18 destinations.mlflow.experiment.id: expected digits in quotes, such as "1", got "traces"',
    ],
    [
      'two issuers',
      withAuth('client_secret: x, issuer: https://a, discovery_url: https://b'),
      'relay.yaml:8:5 destinations.mlflow.auth: has both issuer and discovery_url; leave one of them out',
    ],
    [
      'no issuer',
      withAuth('client_secret: x'),
      'relay.yaml:8:5 destinations.mlflow.auth: must say where tokens come from: issuer, or discovery_url',
    ],
    [
      'no secret',
      withAuth('issuer: https://a'),
      'relay.yaml:8:5 destinations.mlflow.auth: must say where the client secret is: client_secret_file, or client_secret: ${env:NAME}',
    ],
    [
      'two secrets',
      withAuth('issuer: https://a, client_secret: x, client_secret_file: relay.yaml'),
      'relay.yaml:8:5 destinations.mlflow.auth: has both client_secret_file and client_secret; leave one of them out',
    ],
    [
      'half a client certificate',
      upstreamWith('tls: {cert_file: relay.yaml}'),
      'relay.yaml:9:5 destinations.mlflow.tls: has only one of cert_file and key_file; a client certificate needs both',
    ],
    [
      'routes',
      LEAST + 'routes: [{to: mlflow}]\n',
      'relay.yaml:9:1 routes: are not available yet: leave the list empty, and every trace goes to every destination',
    ],
    [
      'too many destinations',
      LEAST +
        Array.from({ length: 16 }, (_, i) => `  other${i}:\n` + LEAST.slice(LEAST.indexOf('    kind'))).join(
          '',
        ),
      'relay.yaml:3:1 destinations: must have 1 to 16 destinations',
    ],
    [
      'a name of a destination with capitals',
      changed('  mlflow:', '  MLflow:'),
      'relay.yaml:4:3 destinations.MLflow: is no name of a destination: use lower-case letters, digits, - and _, at most 63, and start with a letter or digit',
    ],

    // Addresses
    [
      'an address without a port',
      receiverWith('listen: 127.0.0.1'),
      'relay.yaml:3:3 receiver.listen: expected an address and a port such as 127.0.0.1:4318 or "[::1]:4318", got "127.0.0.1"',
    ],
    [
      'a port alone',
      receiverWith('listen: ":4318"'),
      'relay.yaml:3:3 receiver.listen: expected an address and a port such as 127.0.0.1:4318 or "[::1]:4318", got ":4318"',
    ],
    [
      'a port that is none',
      receiverWith('listen: 127.0.0.1:65536'),
      'relay.yaml:3:3 receiver.listen: expected an address and a port such as 127.0.0.1:4318 or "[::1]:4318", got "127.0.0.1:65536"',
    ],
    [
      'an address that is none',
      receiverWith('listen: 127.0.0.256:1'),
      'relay.yaml:3:3 receiver.listen: expected an address and a port such as 127.0.0.1:4318 or "[::1]:4318", got "127.0.0.256:1"',
    ],
    [
      'IPv6 without brackets',
      receiverWith('listen: "::1:4318"'),
      'relay.yaml:3:3 receiver.listen: expected an address and a port such as 127.0.0.1:4318 or "[::1]:4318", got "::1:4318"',
    ],
    [
      'http:// elsewhere',
      changed('https://mlflow', 'http://mlflow'),
      'relay.yaml:6:5 destinations.mlflow.url: is http:// to another machine, where tokens and traces can be read on the way: use https://, or say allow_http: true beside it',
    ],
    [
      'http:// to another address',
      changed('https://mlflow', 'http://10.0.0.1'),
      'relay.yaml:6:5 destinations.mlflow.url: is http:// to another machine, where tokens and traces can be read on the way: use https://, or say allow_http: true beside it',
    ],
    [
      'http:// to a name that only looks local',
      changed('https://mlflow', 'http://127.0.0.1.example.com'),
      'relay.yaml:6:5 destinations.mlflow.url: is http:// to another machine, where tokens and traces can be read on the way: use https://, or say allow_http: true beside it',
    ],
    [
      'an issuer at http://',
      withAuth('client_secret: x, issuer: http://a'),
      'relay.yaml:8:74 destinations.mlflow.auth.issuer: is http:// to another machine, where tokens and traces can be read on the way: use https://, or say allow_http: true beside it',
    ],
    [
      'a discovery document at http://',
      withAuth('client_secret: x, discovery_url: http://a'),
      'relay.yaml:8:74 destinations.mlflow.auth.discovery_url: is http:// to another machine, where tokens and traces can be read on the way: use https://, or say allow_http: true beside it',
    ],
    [
      'another scheme',
      changed('https://mlflow', 'ftp://mlflow'),
      'relay.yaml:6:5 destinations.mlflow.url: expected the URL of MLflow, such as https://mlflow.example.com, got "ftp://mlflow"',
    ],
    [
      'no scheme',
      changed('https://mlflow', 'mlflow:5000'),
      'relay.yaml:6:5 destinations.mlflow.url: expected the URL of MLflow, such as https://mlflow.example.com, got "mlflow:5000"',
    ],
    [
      'the path that the relay adds',
      changed('https://mlflow', 'https://mlflow/base/v1/traces'),
      'relay.yaml:6:5 destinations.mlflow.url: must be the URL of MLflow itself: leave /v1/traces and /api/2.0 out, they are added',
    ],
    [
      'a query',
      changed('https://mlflow', 'https://mlflow/?a'),
      'relay.yaml:6:5 destinations.mlflow.url: must have no query (?) and no fragment (#)',
    ],
    [
      'a fragment',
      changed('https://mlflow', 'https://mlflow/#'),
      'relay.yaml:6:5 destinations.mlflow.url: must have no query (?) and no fragment (#)',
    ],
    [
      'a resource that is no URI',
      withAuth('issuer: https://a, client_secret: x, resource: mlflow'),
      'relay.yaml:8:93 destinations.mlflow.auth.resource: expected an absolute URI without a fragment (#), got "mlflow"',
    ],

    // The environment
    [
      'a variable that is not set',
      changed('https://mlflow', '"https://${env:HOST}/${env:PATH}"'),
      'relay.yaml:6:5 destinations.mlflow.url: needs the environment variable HOST, which is not set\nrelay.yaml:6:5 destinations.mlflow.url: needs the environment variable PATH, which is not set',
    ],
    [
      'another kind of mark',
      changed('https://mlflow', '"https://${HOST}"'),
      'relay.yaml:6:5 destinations.mlflow.url: has a ${…} that is not ${env:NAME}; write $${ for a literal ${',
    ],
    [
      'a mark without quotes',
      changed('{name: traces}', '{name: ${env:NAME}}'),
      'relay.yaml:7:25 not YAML: Unexpected flow-map-start at node end; text with any of {}[], in it needs quotes, "${env:NAME}" too',
    ],

    // YAML
    ['a key twice', LEAST + 'queue: {directory: q}\n', 'relay.yaml:9:1 not YAML: Map keys must be unique'],
    [
      'several documents',
      `${LEAST}---\n${LEAST}`,
      'relay.yaml:9:1 the file holds several documents (---); only one can be read',
    ],
    [
      'a bracket that is not closed',
      'receiver: [\n',
      'relay.yaml:2:1 not YAML: Flow sequence in block collection must be sufficiently indented and end with a ]',
    ],
    [
      'a tag',
      changed('https://mlflow', '!url x'),
      'relay.yaml:6:10 tags mean nothing here; put text that starts with ! in quotes',
    ],
    [
      'an anchor that is not there',
      changed('https://mlflow', '*url'),
      'relay.yaml:6:5 destinations.mlflow.url: refers to an anchor that is not there; put text that starts with * in quotes',
    ],
  ])('%s', (_, yaml, message) => {
    const lines = message.split('\n').toSorted();
    expect(problemsOf(yaml).split('\n').toSorted()).toEqual(lines);
  });

  test('all problems at once, in the order of the file', () => {
    const yaml = LEAST.replace('plaintext: true', 'lisen: x')
      .replace('https://mlflow', 'mlflow')
      .replace('queue: {', 'queue: {max_size: 5MB, ');
    expect(
      problemsOf(yaml)
        .split('\n')
        .map((line) => line.split(' ', 2).join(' ')),
    ).toEqual([
      'relay.yaml:1:1 receiver:',
      'relay.yaml:1:12 receiver.lisen:',
      'relay.yaml:2:9 queue.max_size:',
      'relay.yaml:6:5 destinations.mlflow.url:',
    ]);
  });

  test.each([
    [
      'not UTF-8',
      Buffer.concat([Buffer.from(LEAST), Buffer.from([0x23, 0xff, 0x0a])]),
      'relay.yaml:9:1 the file is not UTF-8 text',
    ],
    ['UTF-16', Buffer.from(`\uFEFF${LEAST}`, 'utf16le'), 'relay.yaml:1:1 the file is not UTF-8 text'],
    ['cut in a character', Buffer.from('é').subarray(0, 1), 'relay.yaml:1:1 the file is not UTF-8 text'],
    ['very long', Buffer.alloc(1_048_577, '#'), 'relay.yaml:1:1 the file is longer than 1048576 bytes'],
  ])('text that is %s', (_, bytes, message) => {
    expect(problemsOf(bytes)).toBe(message);
  });

  test.each([
    ['nested without end', '['.repeat(20_000)],
    ['nested deeper than a configuration', `receiver: ${'['.repeat(40)}${']'.repeat(40)}\n`],
    ['a bomb of aliases', bomb()],
    ['an alias of itself', 'receiver: &a [*a]\n'],
  ])('%s, without hanging', (_, yaml) => {
    expect(problemsOf(yaml)).toMatch(/^relay\.yaml:1:.* nested too deeply$/);
  });
});

/** Ten to the power of nine nulls in nine lines. */
function bomb(): string {
  const lines = ['a: &a0 [~,~,~,~,~,~,~,~,~,~]'];
  for (let i = 1; i < 9; i++)
    lines.push(
      `  b${i}: &a${i} [${Array(10)
        .fill(`*a${i - 1}`)
        .join(',')}]`,
    );
  return `{${lines.join(',\n')}}`.replaceAll('\n', ' ');
}
