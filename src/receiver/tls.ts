import { constants, createPrivateKey, randomBytes } from 'node:crypto';
import type { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { SecureContextOptions, Server } from 'node:tls';
import { parseAuthorities, parseCertificates } from '../certificates.ts';
import { watchFiles } from '../config/watch.ts';
import { RelayError, messageOf } from '../errors.ts';
import type { Logger } from '../telemetry/logger.ts';

export type TlsFiles = { certFile: string; keyFile: string; clientCaFile: string };

/** Node's own size for what encrypts session tickets: 16 bytes each of name, HMAC key and AES key, 48 in all. */
const TICKET_KEY_BYTES = 48;

/** Files that belong together are written one after the other: a change is taken up this long after the last. */
const SETTLE_MS = 200;

/**
 * Reads certificate, key and client CA, and proves that they can serve.
 *
 * @throws RelayError CERTIFICATE_INVALID naming the key of the configuration, the file, and what to do
 */
export function loadTls(files: TlsFiles): SecureContextOptions {
  const cert = read('cert_file', files.certFile);
  const key = read('key_file', files.keyFile);
  const ca = read('client_ca_file', files.clientCaFile);

  const [certificate] = checkCertificates('cert_file', files.certFile, cert, parseCertificates);
  checkCertificates('client_ca_file', files.clientCaFile, ca, parseAuthorities);
  const privateKey = attempt(
    () => createPrivateKey(key),
    'key_file',
    files.keyFile,
    'holds no private key that can be read',
    'give an unencrypted private key in PEM',
  );
  if (!certificate!.checkPrivateKey(privateKey)) {
    throw invalid(
      'key_file',
      files.keyFile,
      `does not belong to the certificate in ${files.certFile}`,
      'give the key that this certificate was issued for, and put that certificate first in its file',
    );
  }
  const options = {
    cert,
    key,
    ca,
    minVersion: 'TLSv1.2',
    // Who a client is, is decided once for a connection.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  } as const;
  attempt(
    () => createSecureContext(options),
    'cert_file',
    files.certFile,
    'cannot be used by OpenSSL',
    'give a certificate with a key of a common kind and size: ECDSA P-256, or RSA with 2048 bits or more',
  );
  return options;
}

/**
 * Takes up new files when they change. Files that cannot serve are logged and the old ones stay in use.
 * Whatever was agreed under the old CA ends with it, because neither a connection nor a resumed session is checked
 * again: tickets of old sessions are worth nothing any more, and `onReload` has to close the connections.
 * To be called before the files are read for `server`, so that no change is missed.
 *
 * @returns ends it
 */
export function keepTlsFresh(
  files: TlsFiles,
  deps: { server: () => Server; log: Logger; onReload: () => void },
): () => void {
  const { log, onReload } = deps;
  let timer: NodeJS.Timeout | undefined;

  function reload(): void {
    try {
      const options = loadTls(files);
      const server = deps.server();
      server.setSecureContext(options);
      forgetSessions(server);
      log.info(files, 'new TLS files are in use; connections made with the old ones are closed');
    } catch (error) {
      log.error({ reason: messageOf(error) }, 'new TLS files cannot be used; the old ones stay in use');
      return;
    }
    onReload();
  }

  const stopWatching = watchFiles([files.certFile, files.keyFile, files.clientCaFile], () => {
    clearTimeout(timer);
    timer = setTimeout(reload, SETTLE_MS).unref();
  });
  return () => {
    stopWatching();
    clearTimeout(timer);
  };
}

/** Makes the tickets of all sessions worth nothing: whoever connects shows its certificate, and it is checked. */
export function forgetSessions(server: Server): void {
  server.setTicketKeys(randomBytes(TICKET_KEY_BYTES));
}

function read(key: string, file: string): string {
  return attempt(
    () => readFileSync(file, 'utf8'),
    key,
    file,
    'cannot be read',
    'give the path of a PEM file that the relay may read',
  );
}

function checkCertificates(
  key: string,
  file: string,
  pem: string,
  parse: (pem: string) => X509Certificate[],
): X509Certificate[] {
  try {
    return parse(pem);
  } catch (error) {
    throw new RelayError('CERTIFICATE_INVALID', `receiver.tls.${key}: ${file} ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function attempt<T>(action: () => T, key: string, file: string, problem: string, remedy: string): T {
  try {
    return action();
  } catch (error) {
    throw invalid(key, file, `${problem} (${messageOf(error)})`, remedy, error);
  }
}

function invalid(key: string, file: string, problem: string, remedy: string, cause?: unknown): RelayError {
  return new RelayError('CERTIFICATE_INVALID', `receiver.tls.${key}: ${file} ${problem}; ${remedy}`, {
    cause,
  });
}
