import { chmod, copyFile, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join, resolve } from 'node:path';
import { ensureInstalled } from './install.ts';
import type { Step } from './install.ts';
import { createKeycloakAdmin } from './keycloak-admin.ts';
import type { KeycloakAdmin } from './keycloak-admin.ts';
import { StackError, freePort, startProcess } from './processes.ts';
import { createService } from './service.ts';
import type { Service } from './service.ts';
import { missingToolchain } from './toolchains.ts';

/*
 * A real Keycloak from Maven Central, with the realm that the project offers for import.
 */

/** The realm for import, as platform engineers get it. */
export const REALM_FILE = resolve(import.meta.dirname, '../../config/keycloak-realm.json');
/** Its name, as the file has it. */
export const REALM = 'mlflow';

const VERSION = '26.7.0';
const UNPACK = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack';
/** What is settled when it is built, and not at each start. */
const BUILD = ['build', '--db=dev-file', '--cache=local'];

/** Small, and quick to start rather than quick after hours. */
const JAVA_OPTS = '-Xms64m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dfile.encoding=UTF-8';

/**
 * The folder with Keycloak, installed if it is not there yet, which takes a minute or two.
 * @throws StackError in one line, where a toolchain is missing or Keycloak cannot be had
 */
export async function ensureKeycloak({
  cacheDir,
  signal,
}: { cacheDir?: string; signal?: AbortSignal | undefined } = {}): Promise<string> {
  const recipe = { what: 'Keycloak', name: 'keycloak', inputs: [VERSION, UNPACK, ...BUILD], make: install };
  const { directory } = await ensureInstalled(recipe, { cacheDir, signal });
  return join(directory, 'keycloak');
}

async function install(directory: string, step: Step): Promise<void> {
  const missing = missingToolchain('java', 'maven');
  if (missing !== undefined) throw new StackError(`Keycloak cannot be installed: ${missing}`);
  const artifact = `org.keycloak:keycloak-quarkus-dist:${VERSION}:zip`;
  const unpacked = join(directory, 'unpacked');
  if (!(await step('mvn', ['-B', UNPACK, `-Dartifact=${artifact}`, `-DoutputDirectory=${unpacked}`]))) {
    throw new StackError(`${artifact} could not be had from Maven Central`);
  }
  const home = join(directory, 'keycloak');
  await rename(join(unpacked, `keycloak-${VERSION}`), home);
  await rm(unpacked, { recursive: true });
  if (!(await step('sh', [join(home, 'bin/kc.sh'), ...BUILD], { env: javaEnv() }))) {
    throw new StackError('Keycloak could not be built (kc.sh build)');
  }
}

export type KeycloakOptions = {
  /** By `ensureKeycloak`. */
  installed: string;
  /** Database and log; made if missing. A realm that is there is used on. */
  directory: string;
  signal?: AbortSignal | undefined;
};

/** Started again, it has the same port and data. */
export type Keycloak = Service & {
  readonly url: string;
  readonly logFile: string;
  /** Of the realm. */
  readonly issuer: string;
  readonly discoveryUrl: string;
  readonly admin: KeycloakAdmin;
};

/**
 * A Keycloak in production mode on plain HTTP, the loopback interface and a database of its own, with the realm
 * of REALM_FILE. Resolves when the realm can be discovered.
 * @throws StackError with the end of its log when it does not start
 */
export async function startKeycloak({ installed, directory, signal }: KeycloakOptions): Promise<Keycloak> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const logFile = join(directory, 'keycloak.log');
  const issuer = `${url}/realms/${REALM}`;
  const discoveryUrl = `${issuer}/.well-known/openid-configuration`;
  const administrator = { username: 'admin', password: randomBytes(24).toString('base64url') };
  const home = await makeHome(installed, directory);

  const service = createService({
    name: 'Keycloak',
    launch: () =>
      startProcess(
        'sh',
        [
          join(home, 'bin/kc.sh'),
          'start',
          '--optimized',
          '--import-realm',
          // One that would look for others listens beyond the loopback interface.
          '--cache=local',
          '--http-enabled=true',
          '--http-host=127.0.0.1',
          `--http-port=${port}`,
          `--hostname=${url}`,
        ],
        {
          cwd: home,
          env: {
            ...javaEnv(),
            KC_BOOTSTRAP_ADMIN_USERNAME: administrator.username,
            KC_BOOTSTRAP_ADMIN_PASSWORD: administrator.password,
          },
          logFile,
        },
      ),
    logFile,
    healthUrl: discoveryUrl,
    readyDeadlineMs: 180_000,
    stopDeadlineMs: 20_000,
    signal,
  });
  await service.start();
  return {
    ...service,
    url,
    logFile,
    issuer,
    discoveryUrl,
    admin: createKeycloakAdmin(url, REALM, administrator),
  };
}

/** Keycloak keeps its data below the folder of its script: one for each, which shares the programs. */
async function makeHome(installed: string, directory: string): Promise<string> {
  const home = join(directory, 'keycloak');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  await mkdir(join(home, 'data/import'), { recursive: true });
  await mkdir(join(home, 'bin'), { recursive: true });
  await copyFile(join(installed, 'bin/kc.sh'), join(home, 'bin/kc.sh'));
  for (const shared of ['lib', 'conf', 'providers', 'themes']) {
    await rm(join(home, shared), { force: true });
    await symlink(join(installed, shared), join(home, shared));
  }
  await copyFile(REALM_FILE, join(home, 'data/import', `${REALM}-realm.json`));
  return home;
}

/** Without what would set up this Keycloak as another one of this machine. */
function javaEnv(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(KC|KEYCLOAK|QUARKUS|JAVA_OPTS|JAVA_TOOL_OPTIONS|JDK_JAVA_OPTIONS)(_|$)/.test(name),
  );
  return { ...Object.fromEntries(kept), JAVA_OPTS };
}
