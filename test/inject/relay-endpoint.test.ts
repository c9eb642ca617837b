import { join } from 'node:path';
import { expect, test } from 'vitest';
import { relayEndpoint } from '../../src/inject/relay-endpoint.ts';
import type { EndpointOptions } from '../../src/inject/relay-endpoint.ts';
import { folder } from '../config/folder.ts';

const urlOf = (options: EndpointOptions, env: NodeJS.ProcessEnv) => relayEndpoint(options, env).url.href;

test.each<[EndpointOptions, Record<string, string>, string]>([
  [{ endpoint: 'https://relay:4318' }, {}, 'https://relay:4318/v1/traces'],
  [{ endpoint: 'https://relay:4318/' }, {}, 'https://relay:4318/v1/traces'],
  [{ endpoint: 'https://relay:4318/v1/traces' }, {}, 'https://relay:4318/v1/traces'],
  [{ endpoint: 'https://gate/relay' }, {}, 'https://gate/relay/v1/traces'],
  [{}, { OTEL_EXPORTER_OTLP_ENDPOINT: 'https://relay:4318' }, 'https://relay:4318/v1/traces'],
  [{}, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://relay:4318/in' }, 'https://relay:4318/in'],
  [
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: 'https://a', OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://b/t' },
    'https://b/t',
  ],
  [
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: 'https://a', OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: '' },
    'https://a/v1/traces',
  ],
  [
    { endpoint: 'http://[::1]:4318' },
    { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://b/t' },
    'http://[::1]:4318/v1/traces',
  ],
])('%o with %o sends to %s', (options, env, url) => {
  expect(urlOf(options, env)).toBe(url);
});

test.each<[EndpointOptions, Record<string, string>, string]>([
  [{}, {}, 'it is not said where the relay is: give --endpoint'],
  [{ endpoint: 'relay:4318' }, {}, '--endpoint: expected the URL of the relay'],
  [{ endpoint: 'ftp://relay' }, {}, '--endpoint: expected the URL of the relay'],
  [{}, { OTEL_EXPORTER_OTLP_ENDPOINT: 'relay' }, 'OTEL_EXPORTER_OTLP_ENDPOINT: expected'],
  [{ endpoint: 'https://relay', certFile: import.meta.filename }, {}, 'both its file and its key'],
  [{ endpoint: 'https://relay', caFile: '/none/ca.crt' }, {}, '--ca-file: /none/ca.crt cannot be read'],
  [
    { endpoint: 'https://relay' },
    { OTEL_EXPORTER_OTLP_CLIENT_KEY: '/none/key' },
    'OTEL_EXPORTER_OTLP_CLIENT_KEY: /none/key cannot be read',
  ],
])('%o with %o cannot be used', (options, env, words) => {
  expect(() => relayEndpoint(options, env)).toThrow(words);
});

test('a password in a URL is not repeated', () => {
  const endpoint = 'https://me:hunter2@relay';
  expect(() => relayEndpoint({ endpoint }, {})).toThrow(/^(?!.*hunter2)/);
});

test('certificates come from the options, then from the variables of traces, then from the general ones', () => {
  const path = folder({ a: '', b: '', c: '' });
  const [a, b, c] = ['a', 'b', 'c'].map((name) => join(path, name));
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: 'https://relay',
    OTEL_EXPORTER_OTLP_CERTIFICATE: a,
    OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: a,
    OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE: b,
    OTEL_EXPORTER_OTLP_CLIENT_KEY: a,
    OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: b,
  };
  expect(relayEndpoint({ keyFile: c }, env).tls).toEqual({ caFile: a, certFile: b, keyFile: c });
});
