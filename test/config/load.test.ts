import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { LEAST, changed, load, problemsOf, receiverWith, withAuth } from './configurations.ts';
import { folder } from './folder.ts';

describe('a configuration that can be used', () => {
  test('says little and gets the defaults', () => {
    const path = folder({ 'relay.yaml': LEAST });
    expect(loadConfig(join(path, 'relay.yaml'), {})).toEqual({
      receiver: {
        listen: { host: '127.0.0.1', port: 4318 },
        plaintext: true,
        allowed_clients: [],
        repair: true,
        max_request_body_size: 67_108_864,
        max_resource_size: 1_048_576,
      },
      queue: { directory: join(path, 'queue'), max_size: 4_294_967_296 },
      destinations: {
        mlflow: {
          kind: 'mlflow',
          url: 'https://mlflow',
          experiment: { name: 'traces' },
          auth: { kind: 'none' },
          timeout: 30_000,
          max_response_size: 4_194_304,
          repair: true,
          allow_http: false,
        },
      },
      routes: [],
      delivery: {
        trace_wait: 5000,
        max_batch_spans: 1000,
        max_batch_size: 4_194_304,
        max_in_flight: 8,
        window_size: 67_108_864,
      },
      admin: { listen: { host: '127.0.0.1', port: 9464 } },
      log: { level: 'info' },
      shutdown_timeout: 25_000,
    });
  });

  test('names files from its own folder, or absolute', () => {
    const other = folder({ 'client-ca.crt': 'x' });
    const path = folder({
      'tls/relay.crt': 'x',
      'tls/relay.key': 'x',
      'relay.yaml': changed(
        '{plaintext: true}',
        `{tls: {cert_file: tls/relay.crt, key_file: ./tls/relay.key, client_ca_file: ${other}/client-ca.crt}}`,
      ),
    });
    const { receiver } = loadConfig(join(path, 'relay.yaml'), {});
    expect(receiver.tls).toEqual({
      cert_file: join(path, 'tls/relay.crt'),
      key_file: join(path, 'tls/relay.key'),
      client_ca_file: join(other, 'client-ca.crt'),
    });
    expect(receiver.plaintext).toBe(false);
  });

  test('takes client credentials with a secret in a file, whoever may read it', () => {
    const path = folder({
      secret: 'hunter2\n',
      'relay.yaml': withAuth(
        'issuer: https://idp/realms/mlflow/, client_secret_file: secret, timeout: 3s, scope: a b',
      ),
    });
    chmodSync(join(path, 'secret'), 0o644);
    expect(loadConfig(join(path, 'relay.yaml'), {}).destinations['mlflow']?.auth).toEqual({
      kind: 'client_credentials',
      issuer: 'https://idp/realms/mlflow/',
      client_id: 'relay',
      client_secret_file: join(path, 'secret'),
      scope: 'a b',
      timeout: 3000,
      allow_http: false,
    });
  });

  test.each([
    ['the environment', '"${env:SECRET}"', 's3cr3t'],
    ['a part of it', '"a-${env:SECRET}-${env:EMPTY}b"', 'a-s3cr3t-b'],
    ['an escaped mark', '"$${env:SECRET}"', '${env:SECRET}'],
    ['an escape before a mark', '"$$${env:SECRET}"', '$${env:SECRET}'],
    ['dollars alone', '"$1 $$ $&"', '$1 $$ $&'],
    ['a value that looks like a mark', '"${env:MARK}"', '${env:SECRET}'],
  ])('takes a secret from %s', (_, written, secret) => {
    const env = { SECRET: 's3cr3t', EMPTY: '', MARK: '${env:SECRET}' };
    const { destinations } = load(withAuth(`discovery_url: https://idp/x, client_secret: ${written}`), env);
    expect(destinations['mlflow']?.auth).toMatchObject({ client_secret: secret });
  });

  test.each([
    ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
    ['0.0.0.0:65535', { host: '0.0.0.0', port: 65_535 }],
    ['"[::1]:4318"', { host: '::1', port: 4318 }],
    ['"[::ffff:127.0.0.1]:1"', { host: '::ffff:127.0.0.1', port: 1 }],
    ['localhost:4318', { host: 'localhost', port: 4318 }],
    ['${env:LISTEN}', { host: '10.0.0.1', port: 4318 }],
  ])('listens at %s', (written, listen) => {
    const yaml = changed('{plaintext: true}', `\n  plaintext: true\n  listen: ${written}`);
    expect(load(yaml, { LISTEN: '10.0.0.1:4318' }).receiver.listen).toEqual(listen);
  });

  test.each([
    'https://mlflow.example.com/tenants/7/',
    'http://127.0.0.1:5000',
    'http://127.8.9.10:5000/base',
    'http://localhost:5000',
    'http://[::1]:5000',
  ])('keeps %s as it is written', (url) => {
    expect(load(changed('https://mlflow', `"${url}"`)).destinations['mlflow']?.url).toBe(url);
  });

  test('may say http:// on purpose', () => {
    const yaml = changed('url: https://mlflow', 'url: http://mlflow:5000\n    allow_http: true');
    expect(load(yaml).destinations['mlflow']?.url).toBe('http://mlflow:5000');
  });

  test('may repeat itself with anchors', () => {
    const yaml = changed('{name: traces}', '{name: &word traces}').replace(
      'queue: {',
      'queue: {max_size: 65MiB, ',
    );
    expect(load(`${yaml}    workspace: *word\n`).destinations['mlflow']).toMatchObject({
      workspace: 'traces',
    });
  });

  test('may start with a byte order mark', () => {
    expect(load(`\uFEFF${LEAST}`).receiver.plaintext).toBe(true);
  });

  test.each(['spiffe://cluster.local/ns/observability/sa/*', '*.example.com', 'collector', 'urn:x:y'])(
    'may allow %s',
    (pattern) => {
      const tls = '{cert_file: f, key_file: f, client_ca_file: f}';
      const yaml = changed('{plaintext: true}', `{tls: ${tls}, allowed_clients: ["${pattern}"]}`);
      expect(load(yaml, {}, { f: 'x' }).receiver.allowed_clients).toEqual([pattern]);
    },
  );
});

describe('files that are named', () => {
  const secretFile = withAuth('issuer: https://a, client_secret_file: secret');

  test.each<[string, Record<string, string>, string]>([
    ['are missing', {}, "cannot read the file: ENOENT: no such file or directory, stat 'secret'"],
    ['are folders', { 'secret/x': '' }, 'secret is no file'],
    ['are empty', { secret: '' }, 'the secret file secret is empty'],
    ['are empty but for a line break', { secret: '\r\n' }, 'the secret file secret is empty'],
    [
      'are too long for a secret',
      { secret: 'x'.repeat(65_537) },
      'the secret in secret is longer than 65536 bytes',
    ],
  ])('%s', (_, files, message) => {
    expect(problemsOf(secretFile, {}, files)).toBe(
      `relay.yaml:8:75 destinations.mlflow.auth.client_secret_file: ${message}`,
    );
  });

  test('each of them is looked at', () => {
    const yaml = LEAST.replace(
      '{plaintext: true}',
      '{tls: {cert_file: d, key_file: d, client_ca_file: d}}',
    ).replace(
      'auth: {kind: none}',
      'tls: {ca_file: d, cert_file: d, key_file: d}\n    auth: {kind: client_credentials, client_id: a, issuer: https://a, client_secret_file: d, ca_file: d}',
    );
    const keys = problemsOf(yaml, {}, { 'd/x': '' })
      .split('\n')
      .map((line) => line.split(' ')[1]);
    expect(keys).toEqual([
      'receiver.tls.cert_file:',
      'receiver.tls.key_file:',
      'receiver.tls.client_ca_file:',
      'destinations.mlflow.tls.ca_file:',
      'destinations.mlflow.tls.cert_file:',
      'destinations.mlflow.tls.key_file:',
      'destinations.mlflow.auth.client_secret_file:',
      'destinations.mlflow.auth.ca_file:',
    ]);
  });

  test('the configuration itself is missing', () => {
    expect(() => loadConfig('/nowhere/relay.yaml', {})).toThrow(
      expect.objectContaining({
        code: 'CONFIG_UNREADABLE',
        message:
          "cannot read the configuration file /nowhere/relay.yaml: ENOENT: no such file or directory, open '/nowhere/relay.yaml'; name another one with --config FILE",
      }),
    );
  });
});

describe('no message shows a secret', () => {
  const SECRET = 'hunter2';

  test.each([
    ['in a list', withAuth(`client_secret: [${SECRET}]`)],
    ['in place of auth', changed('{kind: none}', SECRET)],
    ['under a key with a slip', withAuth(`client_secrt: ${SECRET}`)],
    ['with a mark in it', withAuth(`client_secret: '\${${SECRET}}'`)],
    ['with a tag before it', withAuth(`client_secret: !${SECRET} x`)],
    ['that looks like an alias', withAuth(`client_secret: *${SECRET}`)],
    ['that looks like a block', changed('{kind: none}', `\n      client_secret: |${SECRET}`)],
    ['that is too long', withAuth(`client_secret: "${SECRET.repeat(10_000)}"`)],
    ['with a quote in it', withAuth(`client_secret: "${SECRET}"x`)],
    ['after a tab', changed('{kind: none}', `\n\t  client_secret: ${SECRET}`)],
    ['in a URL', changed('https://mlflow', `https://u:${SECRET}@mlflow`)],
    ['in a URL that is none', changed('https://mlflow', `https//u:${SECRET}@mlflow`)],
    ['from the environment in a URL', changed('https://mlflow', '"https://${env:SECRET}@mlflow"')],
    ['from the environment in a URL that is none', changed('https://mlflow', '"${env:SECRET}"')],
    ['from the environment in a size', receiverWith('max_request_body_size: "${env:SECRET}"')],
    ['from the environment in a kind', changed('{kind: none}', '{kind: "${env:SECRET}"}')],
  ])('%s', (_, yaml) => {
    expect(problemsOf(yaml, { SECRET })).not.toContain(SECRET);
  });

  test('but says that the value is from the environment', () => {
    expect(problemsOf(receiverWith('max_request_body_size: "${env:SIZE}"'), { SIZE: 'x' })).toBe(
      'relay.yaml:3:3 receiver.max_request_body_size: expected a size such as 64MiB, got "${env:SIZE}" (from the environment)',
    );
  });
});
