import { join } from 'node:path';
import { ensureInstalled } from './install.ts';
import type { Step } from './install.ts';
import { StackError, freePort, startProcess } from './processes.ts';
import { createService } from './service.ts';
import type { Service } from './service.ts';
import { missingToolchain } from './toolchains.ts';

/*
 * Toxiproxy (https://github.com/Shopify/toxiproxy), a TCP proxy that breaks what passes as it is told to, built from
 * its Go module.
 */

const SERVER = 'github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0';

/** For one request to its API, which answers in no time unless it hangs. */
const API_LIMIT_MS = 10_000;

/**
 * The program, built if it is not there yet.
 * @throws StackError in one line, where Go is missing or the module cannot be had
 */
export async function ensureToxiproxy({
  cacheDir,
  signal,
}: { cacheDir?: string; signal?: AbortSignal | undefined } = {}): Promise<string> {
  const recipe = { what: 'Toxiproxy', name: 'toxiproxy', inputs: [SERVER], make: build };
  const { directory } = await ensureInstalled(recipe, { cacheDir, signal });
  return join(directory, 'server');
}

async function build(directory: string, step: Step): Promise<void> {
  const missing = missingToolchain('go');
  if (missing !== undefined) throw new StackError(`Toxiproxy cannot be built: ${missing}`);
  if (!(await step('go', ['install', SERVER], { env: { ...process.env, GOBIN: directory } }))) {
    throw new StackError(`${SERVER} could not be installed`);
  }
}

/** From the client to the server, or back. */
export type Direction = 'upstream' | 'downstream';

/** What can be done to a direction of each connection, by Toxiproxy's own words; times in ms. */
export type Toxic = { readonly stream: Direction } & (
  | { readonly type: 'latency'; readonly attributes: { readonly latency: number } }
  /** Nothing passes; the connection is closed after the time, or never with 0. */
  | { readonly type: 'timeout'; readonly attributes: { readonly timeout: number } }
  /** Closed after so many bytes. */
  | { readonly type: 'limit_data'; readonly attributes: { readonly bytes: number } }
  /**
   * Closed after the time that follows the first bytes. Connections that are opened while this toxic is there end by
   * a reset, whatever closes them and on either side.
   */
  | { readonly type: 'reset_peer'; readonly attributes: { readonly timeout: number } }
  /** The end of a connection is passed on later. */
  | { readonly type: 'slow_close'; readonly attributes: { readonly delay: number } }
);

export type Proxy = {
  readonly url: string;
  readonly port: number;
  /** To connections that are open and to new ones. A second one of this type and direction is an error. */
  add(toxic: Toxic): Promise<void>;
  /** All of them. What they have held back or dropped may be lost, with its connection. */
  removeToxics(): Promise<void>;
  /** Listens no more, and closes all connections. */
  disable(): Promise<void>;
  /** Listens again, at the same port. */
  enable(): Promise<void>;
};

export type Toxiproxy = Pick<Service, 'stop' | 'failed'> & {
  /** @param upstream host and port */
  proxy(name: string, upstream: string): Promise<Proxy>;
};

/**
 * @param options.binary by `ensureToxiproxy`
 * @param options.directory for its log
 * @throws StackError with the end of its log when it does not get ready
 */
export async function startToxiproxy(options: {
  binary: string;
  directory: string;
  signal?: AbortSignal;
}): Promise<Toxiproxy> {
  const { binary, directory, signal } = options;
  const port = await freePort();
  const apiUrl = `http://127.0.0.1:${port}`;
  const logFile = join(directory, 'toxiproxy.log');
  const service = createService({
    name: 'Toxiproxy',
    launch: () =>
      startProcess(binary, ['-host', '127.0.0.1', '-port', String(port)], {
        cwd: directory,
        env: process.env,
        logFile,
      }),
    logFile,
    healthUrl: `${apiUrl}/version`,
    readyDeadlineMs: 30_000,
    stopDeadlineMs: 10_000,
    signal,
  });
  await service.start();
  return {
    stop: service.stop,
    failed: service.failed,
    proxy: async (name, upstream) => createProxy(apiUrl, name, upstream),
  };
}

async function createProxy(apiUrl: string, name: string, upstream: string): Promise<Proxy> {
  const made = (await call(apiUrl, 'POST', '/proxies', {
    name,
    listen: '127.0.0.1:0',
    upstream,
    enabled: true,
  })) as { listen: string };
  const path = `/proxies/${name}`;
  return {
    url: `http://${made.listen}`,
    port: Number(made.listen.split(':').at(-1)),
    async add(toxic) {
      await call(apiUrl, 'POST', `${path}/toxics`, toxic);
    },
    async removeToxics() {
      const toxics = (await call(apiUrl, 'GET', `${path}/toxics`)) as { name: string }[];
      for (const toxic of toxics) await call(apiUrl, 'DELETE', `${path}/toxics/${toxic.name}`);
    },
    async disable() {
      await call(apiUrl, 'POST', path, { enabled: false });
    },
    async enable() {
      await call(apiUrl, 'POST', path, { enabled: true });
    },
  };
}

async function call(apiUrl: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const response = await fetch(apiUrl + path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(API_LIMIT_MS),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`Toxiproxy: ${method} ${path}: ${response.status} ${text}`);
  return text === '' ? undefined : JSON.parse(text);
}
