import { generateKeyPairSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { once } from 'node:events';
import { Provider } from 'oidc-provider';
import type { Client, Context, Interaction } from 'oidc-provider';
import { createAdapter } from './oidc-adapter.ts';
import { StackError } from './processes.ts';

/*
 * An OpenID provider for development and tests, on plain HTTP and the loopback interface only: client
 * credentials for services, with JWT access tokens as Keycloak would give them, and a login page for people.
 */

/** `aud` of the access tokens; MLflow's OIDC_AUDIENCE. */
export const AUDIENCE = 'mlflow';
/** Members may use MLflow, and administer it. */
export const GROUP = 'mlflow';
export const ADMIN_GROUP = 'mlflow-admin';

/** `clientId` gets tokens by client_credentials, as the user `username` in `groups` (GROUP unless given). */
export type ServiceClient = {
  clientId: string;
  secret: string;
  username: string;
  groups?: readonly string[];
};
/** The client that MLflow is when people log in. */
export type BrowserClient = { clientId: string; secret: string; redirectUris: readonly string[] };
export type Person = { email: string; password: string; name: string; groups: readonly string[] };

export type OidcProviderOptions = {
  /** Taken at each start; 0 means a free one at the first. */
  port: number;
  services: readonly ServiceClient[];
  browser?: BrowserClient;
  people?: readonly Person[];
  /** Of access tokens, in seconds; 300 unless given. */
  tokenLifetime?: number;
};

export type OidcProvider = {
  readonly issuer: string;
  readonly discoveryUrl: string;
  readonly port: number;
  /** Answers of the token endpoint so far. */
  tokenRequests(): number;
  /** How often its keys were asked for so far. */
  keyRequests(): number;
  /** Of the access tokens given from now on, in seconds. */
  setTokenLifetime(seconds: number): void;
  /** By how many seconds its clock is ahead of that of this machine, as the tokens show that it gives from now on. */
  setClockAhead(seconds: number): void;
  /** Signs with a new key from now on, and no longer publishes the old one. */
  rollSigningKey(): void;
  /** The old secret is refused from now on. */
  setSecret(clientId: string, secret: string): void;
  /** A fresh access token, asked for over HTTP as any client does. */
  token(clientId: string): Promise<string>;
  /** Connections are cut. Keys, clients and sessions are kept for `start`. */
  stop(): Promise<void>;
  /** Listens again, on the same port. */
  start(): Promise<void>;
};

/** @throws StackError when the port is taken */
export async function startOidcProvider(options: OidcProviderOptions): Promise<OidcProvider> {
  const services = new Map(options.services.map((service) => [service.clientId, { ...service }]));
  const people = new Map((options.people ?? []).map((person) => [person.email, person]));
  let lifetime = options.tokenLifetime ?? 300;
  let clockAhead = 0;
  let tokenRequests = 0;
  let keyRequests = 0;

  // What outlives a signing key.
  const cookieKey = randomBytes(32).toString('base64url');
  const adapter = createAdapter((id) => clientMetadata(id, services, options.browser));

  let server = await listen(options.port);
  const port = portOf(server);
  const issuer = `http://127.0.0.1:${port}`;

  const createProvider = (keyId: string) =>
    new Provider(issuer, {
      adapter,
      jwks: { keys: [signingKey(keyId)] },
      cookies: { keys: [cookieKey] },
      formats: {
        customizers: {
          jwt: (_: Context, __: unknown, { payload }: { payload: { iat: number; exp: number } }) => {
            payload.iat += clockAhead;
            payload.exp += clockAhead;
          },
        },
      },
      features: {
        clientCredentials: { enabled: true },
        devInteractions: { enabled: false },
        resourceIndicators: {
          enabled: true,
          // A client that asks for no resource gets a JWT for MLflow; MLflow itself, for a person, an opaque one.
          defaultResource: (_: Context, client: Client) =>
            services.has(client.clientId) ? `urn:${AUDIENCE}` : undefined,
          getResourceServerInfo: () => ({
            scope: '',
            audience: AUDIENCE,
            accessTokenFormat: 'jwt',
            accessTokenTTL: lifetime,
            jwt: { sign: { alg: 'RS256' } },
          }),
        },
      },
      extraTokenClaims: (_: Context, token: { clientId: string }) => {
        const service = services.get(token.clientId);
        return service && { preferred_username: service.username, groups: service.groups ?? [GROUP] };
      },
      // MLflow reads groups from the ID token.
      conformIdTokenClaims: false,
      claims: { email: ['email', 'email_verified'], profile: ['name', 'preferred_username', 'groups'] },
      findAccount: (_: Context, id: string) => {
        const person = people.get(id);
        return person && { accountId: id, claims: () => ({ sub: id, ...claimsOf(person) }) };
      },
      // Nobody is asked for consent: the one client is the MLflow that was started beside this provider.
      loadExistingGrant: async ({ oidc }: Context) => {
        const grant = new provider.Grant({
          accountId: oidc.session.accountId,
          clientId: oidc.client?.clientId ?? '',
        });
        grant.addOIDCScope('openid email profile');
        await grant.save();
        return grant;
      },
      interactions: { url: (_: Context, interaction: Interaction) => `/interaction/${interaction.uid}` },
      ttl: {
        ClientCredentials: () => lifetime,
        Interaction: 3600,
        Session: 86_400,
        Grant: 86_400,
        AuthorizationCode: 60,
        IdToken: 3600,
        AccessToken: 3600,
      },
    });
  let keys = 1;
  let provider = createProvider('development');
  let answer = provider.callback();

  function handle(request: IncomingMessage, response: ServerResponse): void {
    if (request.url?.startsWith('/interaction/') === true) {
      login(provider, people, request, response).catch(() => {
        if (!response.headersSent) response.writeHead(400, { 'content-type': 'text/plain' });
        response.end('This login is over. Start again from MLflow.\n');
      });
      return;
    }
    if (request.method === 'POST' && request.url === '/token') tokenRequests += 1;
    if (request.url === '/jwks') keyRequests += 1;
    answer(request, response);
  }
  server.on('request', handle);

  return {
    issuer,
    discoveryUrl: `${issuer}/.well-known/openid-configuration`,
    port,
    tokenRequests: () => tokenRequests,
    keyRequests: () => keyRequests,
    setTokenLifetime: (seconds) => {
      lifetime = seconds;
    },
    setClockAhead: (seconds) => {
      clockAhead = seconds;
    },
    rollSigningKey: () => {
      provider = createProvider(`development ${++keys}`);
      answer = provider.callback();
    },
    setSecret: (clientId, secret) => {
      const service = services.get(clientId);
      if (service === undefined) throw new Error(`no client ${clientId}`);
      service.secret = secret;
    },
    token: (clientId) => requestToken(`${issuer}/token`, services.get(clientId)),
    stop: async () => {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
    start: async () => {
      if (server.listening) return;
      server = await listen(port);
      server.on('request', handle);
    },
  };
}

async function listen(port: number): Promise<Server> {
  const server = createServer();
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening');
  } catch (error) {
    throw new StackError(
      `the OpenID provider cannot listen on 127.0.0.1:${port}: ${(error as Error).message}`,
    );
  }
  return server;
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening');
  return address.port;
}

function signingKey(keyId: string): Record<string, unknown> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: keyId };
}

function clientMetadata(
  id: string,
  services: ReadonlyMap<string, ServiceClient>,
  browser: BrowserClient | undefined,
): Record<string, unknown> | undefined {
  const service = services.get(id);
  if (service !== undefined) {
    return {
      client_id: id,
      client_secret: service.secret,
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
    };
  }
  if (browser?.clientId !== id) return undefined;
  return {
    client_id: id,
    client_secret: browser.secret,
    grant_types: ['authorization_code'],
    response_types: ['code'],
    redirect_uris: [...browser.redirectUris],
  };
}

function claimsOf({ email, name, groups }: Person) {
  return { email, email_verified: true, name, preferred_username: email, groups };
}

async function requestToken(endpoint: string, service: ServiceClient | undefined): Promise<string> {
  if (service === undefined) throw new Error('no such client');
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from(`${service.clientId}:${service.secret}`).toString('base64')}`,
      // Not on a connection that an earlier stop has cut.
      connection: 'close',
    },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  });
  const body = (await response.json()) as { access_token?: string; error?: string };
  if (body.access_token === undefined) throw new Error(`no token: ${response.status} ${body.error ?? ''}`);
  return body.access_token;
}

/** GET shows the form, POST checks it and goes on with the authorization request that led here. */
async function login(
  provider: Provider,
  people: ReadonlyMap<string, Person>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  await provider.interactionDetails(request, response);
  let failed = false;
  if (request.method === 'POST') {
    const form = new URLSearchParams(await readBody(request));
    const person = people.get(form.get('email') ?? '');
    if (person !== undefined && sameText(person.password, form.get('password') ?? '')) {
      const result = { login: { accountId: person.email } };
      await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
      return;
    }
    failed = true;
  }
  response.writeHead(failed ? 401 : 200, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  });
  response.end(loginPage(failed));
}

async function readBody(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk;
    if (body.length > 10_000) throw new Error('too large');
  }
  return body;
}

function sameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

function loginPage(failed: boolean): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Log in</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 20rem; margin: 15vh auto; padding: 0 1rem }
  label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit }
  input { padding: .4rem; margin-bottom: 1rem }
  button { padding: .5rem }
  p { color: #b00020 }
</style>
<h1>Log in</h1>
${failed ? '<p role="alert">Email and password do not match.</p>' : ''}
<form method="post">
  <label>Email <input name="email" type="email" autocomplete="username" required autofocus></label>
  <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
  <button>Log in</button>
</form>
`;
}
