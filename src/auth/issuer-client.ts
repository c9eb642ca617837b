import { readFile } from 'node:fs/promises';
import * as oauth from 'openid-client';
import { Agent, request } from 'undici';
import type { Dispatcher } from 'undici';
import { DEEPEST_JSON, isNestedDeeper } from '../bounded-json.ts';
import { parseAuthorities } from '../certificates.ts';
import { messageOf } from '../errors.ts';
import { isLoopback } from '../loopback.ts';
import { IssuerProblem, explainDiscovery, explainGrant } from './issuer-words.ts';
import type { GrantKind, IssuerAnswer } from './issuer-words.ts';
import { SecretMask } from '../masking/secret-mask.ts';
import { bareUrl, networkWords, quote } from '../network-words.ts';

/** More than any issuer has to say. */
const LONGEST_ANSWER = 1024 * 1024;

export type IssuerOptions = {
  /** Its metadata is looked for below it; its name there must be this one. */
  readonly issuer: string | undefined;
  /** In place of `issuer`: the whole address of the metadata. */
  readonly discoveryUrl: string | undefined;
  readonly clientId: string;
  readonly scope: string | undefined;
  readonly audience: string | undefined;
  readonly resource: string | undefined;
  /** PEM; takes the place of the CAs that are trusted by default. */
  readonly caFile: string | undefined;
  /** Whether requests, and the secret with them, may go over http:// to other machines than this one. */
  readonly allowHttp: boolean;
  /** For each request, from connecting to the last byte of the answer. */
  readonly timeoutMs: number;
};

/** Whom a client asks; one without a secret is a public client (RFC 6749 section 2.1). */
export type Asking = {
  readonly metadata: oauth.ServerMetadata;
  readonly secret: string | undefined;
  readonly signal: AbortSignal;
};

/** @param masked takes out of a text of the issuer what was sent as a secret */
type Step<T> = (config: oauth.Configuration, masked: (text: string) => string) => Promise<T>;

/** Talks to one issuer on behalf of one client; keeps nothing, so that a changed CA file counts at once. */
export type IssuerClient = {
  /** What is configured of `scope`, `audience` and `resource`, as parameters of a request. */
  readonly parameters: Readonly<Record<string, string>>;
  /** OpenID Connect Discovery 1.0 section 4, or RFC 8414 by `discoveryUrl`. Throws IssuerProblem. */
  discover(signal: AbortSignal): Promise<oauth.ServerMetadata>;
  /**
   * Does a step of openid-client as this client. Throws IssuerProblem, with nothing in its words that was sent as a
   * secret; an IssuerProblem that the step throws goes the same way.
   * @param grant for the words, where it fails
   */
  run<T>(asking: Asking, grant: GrantKind, step: Step<T>): Promise<T>;
};

export function createIssuerClient(options: IssuerOptions): IssuerClient {
  async function discover(signal: AbortSignal): Promise<oauth.ServerMetadata> {
    const url = metadataUrl(options);
    const metadata = await ask(
      signal,
      new SecretMask(),
      async (fetch) => {
        const config = await oauth.discovery(url, options.clientId, undefined, oauth.None(), {
          [oauth.customFetch]: fetch,
          // What may go without encryption is decided in `ask`, for each request.
          execute: [oauth.allowInsecureRequests],
        });
        return config.serverMetadata();
      },
      (answer, error) => explainDiscovery(answer, error, url),
    );
    if (!URL.canParse(metadata.token_endpoint ?? '')) {
      throw new IssuerProblem('refusal', `the issuer ${quote(metadata.issuer)} names no token_endpoint`);
    }
    return metadata;
  }

  async function run<T>({ metadata, secret, signal }: Asking, grant: GrantKind, step: Step<T>): Promise<T> {
    const authentication = secret === undefined ? oauth.None() : clientAuthentication(metadata, secret);
    const secrets = new SecretMask();
    secrets.add(secret ?? '');
    return await ask(
      signal,
      secrets,
      (fetch) => {
        const config = new oauth.Configuration(metadata, options.clientId, undefined, authentication);
        config[oauth.customFetch] = fetch;
        oauth.allowInsecureRequests(config);
        return step(config, (text) => secrets.text(text));
      },
      (given, error) => explainGrant(given, error, options.clientId, grant),
    );
  }

  /** A step of openid-client, its requests over undici; its failure in words. */
  async function ask<T>(
    signal: AbortSignal,
    secrets: SecretMask,
    step: (fetch: oauth.CustomFetch) => Promise<T>,
    explain: (answer: IssuerAnswer, error: unknown) => IssuerProblem,
  ): Promise<T> {
    const agent = new Agent({
      connect: { timeout: options.timeoutMs, ...(await trustedCa(options.caFile)) },
      maxResponseSize: LONGEST_ANSWER,
      allowH2: false,
    });
    let problem: IssuerProblem | undefined;
    let answer: IssuerAnswer | undefined;

    // Not `fetch`: `request` does not decompress, so that the limit holds, nor follow redirects.
    const overUndici: oauth.CustomFetch = async (target, init) => {
      const url = new URL(target);
      if (url.protocol === 'http:' && !options.allowHttp && !isLoopback(url.hostname)) {
        problem = new IssuerProblem(
          'refusal',
          `the issuer names ${bareUrl(url)}, to which nothing goes unencrypted: correct the issuer's addresses, or set allow_http`,
        );
        throw problem;
      }
      secrets.addHeaders(init.headers);
      if (init.body instanceof URLSearchParams) secrets.addForm(init.body);
      try {
        const response = await request(url, {
          method: init.method === 'POST' ? 'POST' : 'GET',
          headers: { ...init.headers, 'accept-encoding': 'identity' },
          body: init.body instanceof URLSearchParams ? init.body.toString() : null,
          dispatcher: agent,
          signal: AbortSignal.any([signal, AbortSignal.timeout(options.timeoutMs)]),
        });
        const bytes = Buffer.from(await response.body.arrayBuffer());
        answer = answerOf(url, response, await secrets.bytes(bytes), secrets);
        problem = nestingProblem(answer, bytes);
        if (problem !== undefined) throw problem;
        // What the issuer grants may be what it was asked with, as a refresh token.
        const isGranted = answer.status >= 200 && answer.status < 300;
        return toResponse({ ...answer, ...(isGranted && { body: bytes.toString('utf8') }) });
      } catch (error) {
        problem ??= new IssuerProblem('away', networkWords(error, url, options.timeoutMs));
        throw problem;
      }
    };

    try {
      return await step(overUndici);
    } catch (error) {
      const found = problem ?? (error instanceof IssuerProblem ? error : undefined);
      const explained = found ?? (answer === undefined ? error : explain(answer, error));
      throw explained instanceof IssuerProblem
        ? new IssuerProblem(explained.kind, secrets.text(explained.message))
        : explained;
    } finally {
      await agent.destroy();
    }
  }

  return { parameters: parametersOf(options), discover, run };
}

function metadataUrl({ issuer, discoveryUrl }: IssuerOptions): URL {
  const configured = discoveryUrl ?? issuer ?? '';
  if (!URL.canParse(configured)) {
    throw new IssuerProblem('refusal', `issuer is not a URL: "${quote(configured)}"`);
  }
  const url = new URL(configured);
  // openid-client takes a URL without it for an issuer.
  if (discoveryUrl !== undefined && !url.pathname.includes('/.well-known/')) {
    throw new IssuerProblem(
      'refusal',
      `discovery_url has no /.well-known/ in it: ${bareUrl(url)}; give the address of the metadata, or issuer instead`,
    );
  }
  return url;
}

async function trustedCa(caFile: string | undefined): Promise<{ ca?: Buffer }> {
  if (caFile === undefined) return {};
  let ca: Buffer;
  try {
    ca = await readFile(caFile);
  } catch (error) {
    throw new IssuerProblem('refusal', `ca_file of the issuer cannot be read: ${messageOf(error)}`);
  }
  try {
    parseAuthorities(ca.toString('latin1'));
  } catch (error) {
    throw new IssuerProblem('refusal', `ca_file of the issuer: ${caFile} ${messageOf(error)}`);
  }
  return { ca };
}

/**
 * RFC 6749 section 2.3.1: the header is what every server must support, so it is taken unless the metadata
 * (RFC 8414 section 2: basic where it says nothing) leaves it out.
 */
function clientAuthentication(metadata: oauth.ServerMetadata, secret: string): oauth.ClientAuth {
  const methods = metadata.token_endpoint_auth_methods_supported ?? ['client_secret_basic'];
  if (methods.includes('client_secret_basic')) return oauth.ClientSecretBasic(secret);
  if (methods.includes('client_secret_post')) return oauth.ClientSecretPost(secret);
  throw new IssuerProblem(
    'refusal',
    `the issuer ${quote(metadata.issuer)} takes no client secrets (token_endpoint_auth_methods_supported: ${quote(methods.join(', '))})`,
  );
}

/** `resource`: RFC 8707 section 2; `audience` is its older relative that some issuers know. */
function parametersOf({ scope, audience, resource }: IssuerOptions): Record<string, string> {
  return Object.fromEntries(
    Object.entries({ scope, audience, resource }).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    ),
  );
}

function answerOf(
  url: URL,
  { statusCode: status, headers }: Pick<Dispatcher.ResponseData, 'statusCode' | 'headers'>,
  body: Buffer,
  secrets: SecretMask,
): IssuerAnswer {
  const header = (name: string) => {
    const value = first(headers[name]);
    return value === undefined ? undefined : secrets.text(value);
  };
  return {
    url,
    status,
    contentType: header('content-type'),
    location: header('location'),
    body: body.toString('utf8'),
  };
}

/** openid-client parses whatever says that it is JSON. */
function nestingProblem({ url, status, contentType }: IssuerAnswer, body: Buffer): IssuerProblem | undefined {
  if (!/json/i.test(contentType ?? '') || !isNestedDeeper(body, DEEPEST_JSON)) return undefined;
  return new IssuerProblem(
    status >= 500 ? 'away' : 'refusal',
    `${bareUrl(url)} answers ${status} with JSON that is nested more than ${DEEPEST_JSON} levels deep: is it the issuer that answers there?`,
  );
}

function toResponse({ status, body, contentType }: IssuerAnswer): Response {
  // The constructor takes no body with these (Fetch standard: null body status).
  const bodyless = status === 204 || status === 205 || status === 304;
  return new Response(bodyless ? null : body, { status, headers: { 'content-type': contentType ?? '' } });
}

function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
