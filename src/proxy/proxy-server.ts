import { createHash, timingSafeEqual } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import basicAuth from '@fastify/basic-auth';
import replyFrom from '@fastify/reply-from';
import Fastify from 'fastify';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import type { TokenSource } from '../auth/token-source.ts';
import { readTls } from '../destinations/http-client.ts';
import type { TlsFiles } from '../destinations/http-client.ts';
import { giveUp } from '../destinations/mlflow.ts';
import { listenFailed, messageOf } from '../errors.ts';
import { SecretMask } from '../masking/secret-mask.ts';
import { bareUrl, quote } from '../network-words.ts';
import { LARGEST_ERROR_ANSWER, OF_THE_BODY, maskedHeaders, readErrorAnswer } from './error-answer.ts';
import type { UpstreamResponse } from './error-answer.ts';

export type ProxyOptions = {
  /** Of the destination, below which the keys of its TLS files stand. */
  readonly name: string;
  /** Of MLflow; a base path is kept. */
  readonly upstream: URL;
  /** PEM; the CA takes the place of those that Node trusts. */
  readonly tls: TlsFiles;
  /** On the loopback interface; 0 takes a free one. */
  readonly port: number;
  /** Whoever knows them may use the account of the tokens. */
  readonly door: { readonly username: string; readonly password: string };
};

export type Proxy = { readonly url: string; stop(): Promise<void> };

const HOST = '127.0.0.1';
/** Larger ones, such as artifacts, are passed on as they come, and so cannot be sent again with another token. */
const MOST_KEPT = 1024 * 1024;
/** MLflow takes its time for some requests. */
const TIMEOUT_MS = 600_000;
const WRONG_KEY =
  'user name and password are those that the proxy was given: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD';

/**
 * Passes on what comes to MLflow, with a fresh token in place of the user name and password that it asks for. A request
 * whose token MLflow does not take goes again with another one, once.
 * @throws RelayError LISTEN_FAILED, CERTIFICATE_INVALID
 */
export async function startProxy(options: ProxyOptions, tokens: TokenSource): Promise<Proxy> {
  const { upstream, port, door } = options;
  const basePath = upstream.pathname.replace(/\/+$/, '');
  const app = Fastify({ forceCloseConnections: true, bodyLimit: MOST_KEPT, exposeHeadRoutes: false });

  await app.register(basicAuth, {
    authenticate: { realm: 'mlflow-trace-relay proxy' },
    async validate(username, password) {
      // Both, always: neither tells by its time how much of it is right.
      const isUser = isEqual(username, door.username);
      const isPassword = isEqual(password, door.password);
      if (!isUser || !isPassword) throw new Error();
    },
  });
  await app.register(replyFrom, {
    base: upstream.origin,
    disableRequestLogging: true,
    disableCache: true,
    // Else requests under way would keep the process.
    destroyAgent: true,
    undici: upstreamOptions(options) as object,
  });
  app.addHook('onRequest', app.basicAuth);
  app.setErrorHandler<FastifyError>((error, _, reply) =>
    error.statusCode === 401 ? refuse(reply, 401, WRONG_KEY) : reply.send(error),
  );

  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (request, payload, done) => {
    const length = Number(request.headers['content-length'] ?? Number.NaN);
    if (!(length <= MOST_KEPT)) {
      done(null, payload);
      return;
    }
    const chunks: Buffer[] = [];
    payload.on('data', (chunk: Buffer) => chunks.push(chunk));
    // An empty one would be sent on as something else.
    payload.once('end', () => done(null, chunks.length === 0 ? undefined : Buffer.concat(chunks)));
    payload.once('error', done);
  });

  /** The token that MLflow took last. */
  let taken: string | undefined;
  const secrets = new SecretMask();

  async function pass(request: FastifyRequest, reply: FastifyReply, isAgain: boolean): Promise<FastifyReply> {
    const path = (request.raw.url ?? '/').replace(/\?.*$/s, '');
    // A URL takes it for a slash, which with dots could lead out of the base path.
    if (path.includes('\\')) return refuse(reply, 400, 'MLflow has no path with a backslash');
    const token = await tokens.token();
    // Clients ask again where it is 503, which helps only where the issuer is away.
    if (token.kind !== 'token') return refuse(reply, token.kind === 'rejected' ? 401 : 503, token.reason);
    secrets.add(token.value);
    const { body } = request;
    const canGoAgain = !isAgain && (body === undefined || body === null || Buffer.isBuffer(body));
    return reply.from(basePath + path, {
      ...(Buffer.isBuffer(body) &&
        body.length > 0 && {
          body,
          contentType: request.headers['content-type'] ?? 'application/octet-stream',
        }),
      rewriteRequestHeaders: (_, headers) => withToken(headers, token.value),
      // Who asked decides whether to ask again.
      retryDelay: () => null,
      rewriteHeaders: (headers) => withOwnLocation(maskedHeaders(headers, secrets), upstream, basePath, own),
      onResponse(_, __, response) {
        const { statusCode, stream, headers } = response as unknown as UpstreamResponse;
        if (statusCode === 401) {
          // What was taken once is not from MLflow's future; under load its Date lags by seconds.
          const isNew = token.value !== taken;
          giveUp(tokens, token, isNew && typeof headers['date'] === 'string' ? headers['date'] : undefined);
        } else {
          taken = token.value;
        }
        if (statusCode !== 401 || !canGoAgain) {
          // An answer to HEAD has the headers of a body, and none.
          if (statusCode < 400 || request.method === 'HEAD') void reply.send(stream);
          else void passError(reply, response as unknown as UpstreamResponse);
          return;
        }
        stream.resume();
        for (const name of Object.keys(headers)) reply.removeHeader(name);
        void pass(request, reply, true);
      },
      onError: (_, { error }) => {
        const cause = error.cause instanceof Error ? error.cause : error;
        void refuse(reply, 502, didNotAnswer(cause));
      },
    });
  }

  async function passError(reply: FastifyReply, response: UpstreamResponse): Promise<void> {
    const { statusCode } = response;
    try {
      const body = await readErrorAnswer(response, secrets);
      for (const name of OF_THE_BODY) reply.removeHeader(name);
      const tooLarge = `${bareUrl(upstream)} answers ${statusCode} with more than ${LARGEST_ERROR_ANSWER} bytes, which are not passed on`;
      await (body === undefined ? refuse(reply, statusCode, tooLarge) : reply.send(body));
    } catch (error) {
      for (const name of OF_THE_BODY) reply.removeHeader(name);
      await refuse(reply, 502, didNotAnswer(error));
    }
  }

  function didNotAnswer(error: unknown): string {
    return `${bareUrl(upstream)} did not answer: ${quote(secrets.text(messageOf(error)))}`;
  }

  app.all('/*', (request, reply) => pass(request, reply, false));

  let own = '';
  try {
    await app.listen({ host: HOST, port });
  } catch (error) {
    await app.close();
    throw listenFailed(HOST, port, '--port', error);
  }
  own = `http://${HOST}:${(app.server.address() as AddressInfo).port}`;
  return { url: own, stop: () => app.close() };
}

/** Unless told in both places, the library does not look at certificates. */
function upstreamOptions(options: ProxyOptions) {
  return {
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
    tls: { rejectUnauthorized: true },
    connect: { ...readTls(options), rejectUnauthorized: true },
  };
}

/** Without what undici takes from nobody. Of compressions the one is left that can be seen through. */
function withToken<T extends Record<string, unknown>>(headers: T, token: string): T {
  const { expect: _expect, 'keep-alive': _keepAlive, upgrade: _upgrade, ...rest } = headers;
  const accepted = rest['accept-encoding'];
  const encoding = typeof accepted === 'string' && /\bgzip\b/i.test(accepted) ? 'gzip' : 'identity';
  return { ...rest, 'accept-encoding': encoding, authorization: `Bearer ${token}` } as unknown as T;
}

/** In the form that MLflow's clients show (mlflow/utils/rest_utils.py). */
function refuse(reply: FastifyReply, status: number, message: string): FastifyReply {
  const code = status === 401 ? 'UNAUTHENTICATED' : 'TEMPORARILY_UNAVAILABLE';
  return reply.code(status).send({ error_code: code, message });
}

/** A redirect of MLflow to itself leads back through the proxy. */
function withOwnLocation<T extends { location?: unknown }>(
  headers: T,
  upstream: URL,
  basePath: string,
  own: string,
): T {
  const { location } = headers;
  if (typeof location !== 'string' || !URL.canParse(location)) return headers;
  const to = new URL(location);
  if (to.origin !== upstream.origin || !to.pathname.startsWith(`${basePath}/`)) return headers;
  return { ...headers, location: own + to.pathname.slice(basePath.length) + to.search + to.hash };
}

/** Without telling by the time it takes how much is equal. */
function isEqual(a: string, b: string): boolean {
  return timingSafeEqual(digestOf(a), digestOf(b));
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
