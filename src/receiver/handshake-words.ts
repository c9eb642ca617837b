/** Node's default is two minutes; an honest client is done in a few round trips. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;

const UNKNOWN_CA = "the client's certificate is not signed by a CA in client_ca_file";

/** By the codes of OpenSSL and Node (its manual: X509 certificate error codes). */
const WORDS: Readonly<Record<string, string>> = {
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    'the client sent no certificate: give it one of a CA in client_ca_file',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_CA,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_CA,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_CA,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_CA,
  DEPTH_ZERO_SELF_SIGNED_CERT: "the client's certificate is signed by itself, and is not in client_ca_file",
  CERT_HAS_EXPIRED: "the client's certificate, or that of a CA above it, has ended: renew it",
  CERT_NOT_YET_VALID:
    "the client's certificate, or that of a CA above it, is not valid yet: compare the clocks",
  INVALID_PURPOSE:
    "the client's certificate is not for clients: its key usage lacks digitalSignature, its extended key usage lacks client auth, or it is that of a CA",
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA:
    "the client does not trust the receiver's certificate: give it the CA that signed cert_file",
  ERR_SSL_HTTP_REQUEST: 'the client speaks http:// to a port that speaks TLS',
  ERR_TLS_HANDSHAKE_TIMEOUT: `the client did not finish the TLS handshake within ${HANDSHAKE_TIMEOUT_MS / 1000} s`,
};

/** What a person can do about a handshake that failed; nothing where the code is all that is known. */
export function handshakeWords(code: string): string | undefined {
  return Object.hasOwn(WORDS, code) ? WORDS[code] : undefined;
}
