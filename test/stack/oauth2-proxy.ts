import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureInstalled } from './install.ts';
import type { Step } from './install.ts';
import type { OidcProvider } from './oidc-provider.ts';
import { AUDIENCE } from './oidc-provider.ts';
import { StackError, freePort, startProcess } from './processes.ts';
import { createService } from './service.ts';
import type { Service } from './service.ts';
import { missingToolchain } from './toolchains.ts';

/*
 * oauth2-proxy (https://github.com/oauth2-proxy/oauth2-proxy), which lets in who has logged in at an OpenID provider,
 * built from its Go module.
 */

const MODULE = 'github.com/oauth2-proxy/oauth2-proxy/v7';
/** Its replacements of modules are not taken by `go install`: it is built as a part of this module. */
const GO_MOD = `module oauth2proxy\n\ngo 1.26\n\nrequire ${MODULE} v7.8.1\n`;

/**
 * The program, built if it is not there yet.
 * @throws StackError in one line, where Go is missing or the module cannot be had
 */
export async function ensureOauth2Proxy({
  cacheDir,
  signal,
}: { cacheDir?: string; signal?: AbortSignal | undefined } = {}): Promise<string> {
  const recipe = { what: 'oauth2-proxy', name: 'oauth2-proxy', inputs: [GO_MOD], make: build };
  const { directory } = await ensureInstalled(recipe, { cacheDir, signal });
  return join(directory, 'oauth2-proxy');
}

async function build(directory: string, step: Step): Promise<void> {
  const missing = missingToolchain('go');
  if (missing !== undefined) throw new StackError(`oauth2-proxy cannot be built: ${missing}`);
  const source = join(directory, 'source');
  await mkdir(source);
  await writeFile(join(source, 'go.mod'), GO_MOD);
  const args = ['build', '-mod=mod', '-o', join(directory, 'oauth2-proxy'), MODULE];
  if (!(await step('go', args, { cwd: source }))) throw new StackError('oauth2-proxy could not be built');
  await rm(source, { recursive: true });
}

export type Oauth2ProxyOptions = {
  /** By `ensureOauth2Proxy`. */
  binary: string;
  /** Its log; made if missing. */
  directory: string;
  oidc: Pick<OidcProvider, 'issuer'>;
  /** With the path below which it is served, and a slash at its end. */
  upstream: string;
  /** Of its own, beside those that a bearer token needs; `--skip-jwt-bearer-tokens=false` takes that away. */
  flags?: readonly string[];
  signal?: AbortSignal;
};

/** Started again, it has the same port, and knows nothing of the provider's keys from before. */
export type Oauth2Proxy = Service & { readonly url: string };

/**
 * oauth2-proxy in front of an upstream, which takes bearer tokens of the provider.
 * @throws StackError with the end of its log when it does not get ready
 */
export async function startOauth2Proxy(options: Oauth2ProxyOptions): Promise<Oauth2Proxy> {
  const { binary, directory, oidc, upstream, flags = [], signal } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const logFile = join(directory, 'oauth2-proxy.log');
  const args = [
    `--http-address=127.0.0.1:${port}`,
    `--upstream=${upstream}`,
    '--provider=oidc',
    `--oidc-issuer-url=${oidc.issuer}`,
    `--client-id=${AUDIENCE}`,
    `--redirect-url=${url}/oauth2/callback`,
    '--email-domain=*',
    // A service account has none.
    '--insecure-oidc-allow-unverified-email',
    '--skip-jwt-bearer-tokens',
    ...flags,
  ];
  const env = {
    ...process.env,
    OAUTH2_PROXY_CLIENT_SECRET: randomBytes(24).toString('base64url'),
    OAUTH2_PROXY_COOKIE_SECRET: randomBytes(16).toString('hex'),
  };
  const service = createService({
    name: 'oauth2-proxy',
    launch: () => startProcess(binary, args, { cwd: directory, env, logFile }),
    logFile,
    healthUrl: `${url}/ping`,
    readyDeadlineMs: 30_000,
    stopDeadlineMs: 10_000,
    signal,
  });
  await service.start();
  return { ...service, url };
}
