import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 wants this polyfill before it.
import 'reflect-metadata';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { JsonGeneralName } from '@peculiar/x509';

/*
 * Certificates for development and tests, never for production: ECDSA P-256, and with the extensions that
 * strict checkers ask for (OpenSSL's X509_V_FLAG_X509_STRICT, on by default in Python 3.13; RFC 5280 4.2).
 */

export type CertificateRequest = {
  commonName: string;
  dnsNames?: readonly string[];
  ips?: readonly string[];
  uris?: readonly string[];
  usage: 'server' | 'client' | 'both';
  /** As of a certificate authority, which no leaf is. */
  isAuthority?: boolean;
  /** Digital signature unless given. */
  keyUsages?: KeyUsageFlags;
  /** An hour ago unless given. */
  notBefore?: Date;
  /** A year from now unless given. */
  notAfter?: Date;
};

/** A certificate and its PKCS#8 private key, both PEM. */
export type KeyPair = { certPem: string; keyPem: string };

export type CertificateAuthority = KeyPair & { issue(request: CertificateRequest): Promise<KeyPair> };

const ECDSA = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const HOUR = 3_600_000;
const YEAR = 365 * 24 * HOUR;

/** A self-signed certificate authority; its key lives in this process unless the caller writes it. */
export async function createCertificateAuthority(name: string): Promise<CertificateAuthority> {
  const keys = await crypto.subtle.generateKey(ECDSA, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    keys,
    signingAlgorithm: ECDSA,
    ...validity({}),
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });

  async function issue(request: CertificateRequest): Promise<KeyPair> {
    const leafKeys = await crypto.subtle.generateKey(ECDSA, true, ['sign', 'verify']);
    const names = alternativeNames(request);
    const leaf = await X509CertificateGenerator.create({
      subject: [{ CN: [request.commonName] }],
      issuer: certificate.subjectName,
      publicKey: leafKeys.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: ECDSA,
      ...validity(request),
      extensions: [
        new BasicConstraintsExtension(request.isAuthority ?? false, undefined, true),
        new KeyUsagesExtension(request.keyUsages ?? KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension(extendedUsages(request.usage)),
        await SubjectKeyIdentifierExtension.create(leafKeys.publicKey),
        await AuthorityKeyIdentifierExtension.create(keys.publicKey),
        ...(names.length > 0 ? [new SubjectAlternativeNameExtension(names)] : []),
      ],
    });
    return exportPair(leaf.rawData, leafKeys.privateKey);
  }

  return { ...(await exportPair(certificate.rawData, keys.privateKey)), issue };
}

/** Absolute paths of what `writeDevelopmentCertificates` wrote. */
export type DevelopmentCertificates = {
  caFile: string;
  certFile: string;
  keyFile: string;
  clientCertFile: string;
  clientKeyFile: string;
  /** To issue more; its key is written nowhere. */
  ca: CertificateAuthority;
};

/**
 * Writes a set for one machine into `dir` (made if missing, old files replaced):
 * - `ca.crt`, which signed both of the others;
 * - `tls.crt`, `tls.key`: server certificate for localhost, 127.0.0.1 and ::1, and `serverNames`;
 * - `client.crt`, `client.key`: client certificate with `clientUri` (a SPIFFE id) and `clientDnsNames`.
 *
 * Key files can be read by their owner alone.
 */
export async function writeDevelopmentCertificates(
  dir: string,
  options: { clientUri?: string; clientDnsNames?: readonly string[]; serverNames?: readonly string[] } = {},
): Promise<DevelopmentCertificates> {
  const ca = await createCertificateAuthority('mlflow-trace-relay development CA');
  const server = await ca.issue({
    commonName: 'localhost',
    dnsNames: ['localhost', ...(options.serverNames ?? [])],
    ips: ['127.0.0.1', '::1'],
    usage: 'server',
  });
  const client = await ca.issue({
    commonName: 'development client',
    uris: options.clientUri === undefined ? [] : [options.clientUri],
    dnsNames: options.clientDnsNames ?? [],
    usage: 'client',
  });

  await mkdir(dir, { recursive: true });
  const caFile = join(dir, 'ca.crt');
  const files = {
    caFile,
    certFile: join(dir, 'tls.crt'),
    keyFile: join(dir, 'tls.key'),
    clientCertFile: join(dir, 'client.crt'),
    clientKeyFile: join(dir, 'client.key'),
  };
  await writeFile(caFile, ca.certPem);
  await writeKeyPair(files.certFile, files.keyFile, server);
  await writeKeyPair(files.clientCertFile, files.clientKeyFile, client);
  return { ...files, ca };
}

/** Writes a pair; the key file with mode 0600. An existing file keeps its mode. */
export async function writeKeyPair(certFile: string, keyFile: string, pair: KeyPair): Promise<void> {
  await writeFile(keyFile, pair.keyPem, { mode: 0o600 });
  await writeFile(certFile, pair.certPem);
}

function validity({ notBefore, notAfter }: { notBefore?: Date; notAfter?: Date }) {
  return {
    notBefore: notBefore ?? new Date(Date.now() - HOUR),
    notAfter: notAfter ?? new Date(Date.now() + YEAR),
  };
}

function alternativeNames({ dnsNames = [], ips = [], uris = [] }: CertificateRequest): JsonGeneralName[] {
  return [
    ...uris.map((value) => ({ type: 'url' as const, value })),
    ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ...ips.map((value) => ({ type: 'ip' as const, value })),
  ];
}

function extendedUsages(usage: CertificateRequest['usage']): ExtendedKeyUsage[] {
  return [
    ...(usage === 'client' ? [] : [ExtendedKeyUsage.serverAuth]),
    ...(usage === 'server' ? [] : [ExtendedKeyUsage.clientAuth]),
  ];
}

async function exportPair(
  certificate: ArrayBuffer,
  privateKey: Parameters<typeof crypto.subtle.exportKey>[1],
): Promise<KeyPair> {
  const key = await crypto.subtle.exportKey('pkcs8', privateKey);
  return {
    certPem: `${PemConverter.encode(certificate, 'CERTIFICATE')}\n`,
    keyPem: `${PemConverter.encode(key, 'PRIVATE KEY')}\n`,
  };
}
