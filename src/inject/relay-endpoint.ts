import { accessSync, constants } from 'node:fs';
import { RelayError, messageOf } from '../errors.ts';
import type { TlsFiles } from '../destinations/http-client.ts';

/** Where the relay takes traces, and how it is trusted and shown who sends. */
export type RelayEndpoint = { readonly url: URL; readonly tls: TlsFiles };

export type EndpointOptions = {
  /** URL of the relay, with or without /v1/traces. */
  readonly endpoint?: string | undefined;
  /** PEM files. */
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
};

/**
 * What is not given comes from the variables of OpenTelemetry's exporters (specification/protocol/exporter.md): those of
 * traces before the general ones; an empty one is not set.
 * @throws RelayError USAGE, CERTIFICATE_INVALID
 */
export function relayEndpoint(options: EndpointOptions, env: NodeJS.ProcessEnv): RelayEndpoint {
  const { caFile, certFile, keyFile } = {
    caFile: file(options.caFile, '--ca-file', 'CERTIFICATE', env),
    certFile: file(options.certFile, '--cert-file', 'CLIENT_CERTIFICATE', env),
    keyFile: file(options.keyFile, '--key-file', 'CLIENT_KEY', env),
  };
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw invalid(
      'a client certificate needs both its file and its key: give --cert-file and --key-file, or OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY',
    );
  }
  return {
    url: tracesUrl(options.endpoint, env),
    tls: { ...(caFile && { caFile }), ...(certFile && { certFile }), ...(keyFile && { keyFile }) },
  };
}

function tracesUrl(given: string | undefined, env: NodeJS.ProcessEnv): URL {
  const ofTraces = variable('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', env);
  // That of traces is taken as it is; to the general one /v1/traces is added.
  if (given === undefined && ofTraces !== undefined) {
    return toUrl(ofTraces, 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT');
  }
  const base = given ?? variable('OTEL_EXPORTER_OTLP_ENDPOINT', env);
  if (base === undefined) {
    throw invalid(
      'it is not said where the relay is: give --endpoint, as in https://mlflow-trace-relay:4318, or set OTEL_EXPORTER_OTLP_ENDPOINT',
    );
  }
  const url = toUrl(base, given === undefined ? 'OTEL_EXPORTER_OTLP_ENDPOINT' : '--endpoint');
  if (!/\/v1\/traces\/?$/.test(url.pathname)) {
    url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`;
  }
  return url;
}

function toUrl(text: string, from: string): URL {
  if (URL.canParse(text)) {
    const url = new URL(text);
    if (/^https?:$/.test(url.protocol) && url.username === '' && url.password === '') return url;
  }
  // Not repeated, as there may be a password in it.
  throw invalid(`${from}: expected the URL of the relay, such as https://mlflow-trace-relay:4318`);
}

function file(
  given: string | undefined,
  option: string,
  name: string,
  env: NodeJS.ProcessEnv,
): string | undefined {
  const found = [
    { path: given, from: option },
    ...[`OTEL_EXPORTER_OTLP_TRACES_${name}`, `OTEL_EXPORTER_OTLP_${name}`].map((from) => ({
      path: variable(from, env),
      from,
    })),
  ].find(({ path }) => path !== undefined);
  if (found?.path === undefined) return undefined;
  try {
    accessSync(found.path, constants.R_OK);
  } catch (cause) {
    throw new RelayError(
      'CERTIFICATE_INVALID',
      `${found.from}: ${found.path} cannot be read: ${messageOf(cause)}`,
      { cause },
    );
  }
  return found.path;
}

function variable(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const value = env[name];
  return value === undefined || value === '' ? undefined : value;
}

function invalid(message: string): RelayError {
  return new RelayError('USAGE', message);
}
