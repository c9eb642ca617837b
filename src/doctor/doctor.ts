import type { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parseCertificates } from '../certificates.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { pairsAtOneMlflow } from '../destinations/one-mlflow.ts';
import { RelayError } from '../errors.ts';
import { loadTls } from '../receiver/tls.ts';
import { checkChain, checkClientCas, checkNames, checkTimes, checkUsage } from './certificates.ts';
import { Checkup, failed, ok } from './checkup.ts';
import type { Check, Verdict } from './checkup.ts';
import { examineDestination } from './destination.ts';
import { checkProxies, checkStoreVariables, checkVerification } from './environment.ts';
import { checkClosedFile, checkConfigFile } from './files.ts';
import { checkApart, checkPort } from './ports.ts';
import { checkDirectory, checkDisk, checkLock, checkSpace, checkSpeed } from './queue.ts';

export type Examined = {
  readonly checks: readonly Check[];
  /** The configuration itself cannot be used, and nothing else was looked at. */
  readonly isUsable: boolean;
};

/**
 * Checks the whole way from the relay's files to MLflow, in order; what needs something that has failed is skipped.
 * Stores nothing, makes nothing but a file in the queue's folder that is gone afterwards, and runs beside a relay.
 * Every request has the time limit that is configured for it.
 * @param chooses the destinations to look at; throws where there is no such destination
 * @param tell of each check, as soon as it is over
 */
export async function examine(
  file: string,
  env: NodeJS.ProcessEnv,
  chooses: (destinations: Config['destinations']) => Config['destinations'],
  tell: (check: Check) => void = () => {},
): Promise<Examined> {
  const checks: Check[] = [];
  const checkup = new Checkup((check) => {
    checks.push(check);
    tell(check);
  });
  const loaded = await checkup.check('configuration', [], () => load(file, env));
  if (loaded.found === undefined) return { checks, isUsable: false };
  const config = loaded.found.value;
  const destinations = chooses(config.destinations);

  await checkup.check('configuration file', [], () => checkConfigFile(file));
  await checkup.check('proxies', [], () => checkProxies(env));
  await checkup.check('certificate checks', [], () => checkVerification(env));
  await checkup.check('MLflow variables', [], () => checkStoreVariables(env));
  await examineReceiver(checkup, config);
  await examineQueueAndPorts(checkup, config);
  const pairs = pairsAtOneMlflow(config.destinations);
  for (const [name, destination] of Object.entries(destinations)) {
    const mine = pairs.filter(({ names }) => names.includes(name));
    await examineDestination(checkup.of(name), name, destination, mine);
  }
  return { checks, isUsable: true };
}

function load(file: string, env: NodeJS.ProcessEnv): Verdict<Config> {
  try {
    const config = loadConfig(file, env);
    return ok(`${file} is valid, with ${Object.keys(config.destinations).join(', ')}`, config);
  } catch (error) {
    // Others are about lines of the file.
    if (!(error instanceof RelayError) || error.code === 'CONFIG_UNREADABLE') throw error;
    return failed(error.message, 'correct these lines; nothing else was looked at');
  }
}

async function examineReceiver(checkup: Checkup, { receiver }: Config): Promise<void> {
  const { tls } = receiver;
  if (tls === undefined) {
    await checkup.check('receiver certificate', [], () =>
      ok('none: plaintext is true, so whoever reaches the port may send'),
    );
    return;
  }
  const { cert_file: certFile, key_file: keyFile, client_ca_file: caFile } = tls;
  await checkup.check('receiver key file', [], () => checkClosedFile(keyFile));
  const files = await checkup.check('receiver certificate', [], () => {
    loadTls({ certFile, keyFile, clientCaFile: caFile });
    return ok('certificate, key and client CA can be used, and the key belongs to the certificate', {
      chain: certificatesIn(certFile),
      cas: certificatesIn(caFile),
    });
  });
  const now = Date.now();
  await checkup.check('receiver certificate chain', [files], ({ chain }) => checkChain(chain, certFile));
  await checkup.check('receiver certificate time', [files], ({ chain }) => checkTimes(chain, now, certFile));
  await checkup.check('receiver certificate usage', [files], ({ chain }) =>
    checkUsage(chain[0]!, 'serverAuth', certFile),
  );
  await checkup.check('receiver certificate names', [files], ({ chain }) =>
    checkNames(chain[0]!, receiver.listen.host, certFile),
  );
  await checkup.check('client CA', [files], ({ cas }) => checkClientCas(cas, now, caFile));
}

async function examineQueueAndPorts(checkup: Checkup, { queue, receiver, admin }: Config): Promise<void> {
  const { directory, max_size: maxBytes } = queue;
  const folder = await checkup.check('queue directory', [], () => checkDirectory(directory));
  // Also where it is the folder of another user: who holds the lock holds the ports.
  const lock = await checkup.check('queue lock', [], () => checkLock(directory));
  await checkup.check('queue disk', [folder], checkDisk);
  await checkup.check('queue space', [folder], (there) => checkSpace(there, directory, maxBytes));
  await checkup.check('queue speed', [folder], checkSpeed);
  const holder = lock.found?.value;
  await checkup.check('ports', [], () => checkApart(receiver.listen, admin.listen));
  await checkup.check('receiver port', [], () => checkPort(receiver.listen, 'receiver.listen', holder));
  await checkup.check('admin port', [], () => checkPort(admin.listen, 'admin.listen', holder));
}

function certificatesIn(file: string): X509Certificate[] {
  return parseCertificates(readFileSync(file, 'latin1'));
}
