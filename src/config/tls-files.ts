import type { Config } from './schema.ts';

/** The PEM files by which an upstream is trusted, and by which it knows this client. */
export function tlsFilesOf(tls: Config['destinations'][string]['tls']): {
  caFile?: string;
  certFile?: string;
  keyFile?: string;
} {
  return {
    ...(tls?.ca_file !== undefined && { caFile: tls.ca_file }),
    ...(tls?.cert_file !== undefined && { certFile: tls.cert_file }),
    ...(tls?.key_file !== undefined && { keyFile: tls.key_file }),
  };
}
