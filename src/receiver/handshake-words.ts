/** By the codes of OpenSSL and Node (its manual: X509 certificate error codes). */
const WORDS: Readonly<Record<string, string>> = {
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'the client showed no certificate',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the client's certificate is of no CA in client_ca_file",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "the client's certificate is of no CA in client_ca_file",
  SELF_SIGNED_CERT_IN_CHAIN: "the client's certificate is of no CA in client_ca_file",
  DEPTH_ZERO_SELF_SIGNED_CERT: "the client's certificate is its own CA, which is not in client_ca_file",
  CERT_HAS_EXPIRED: "the client's certificate is over",
  CERT_NOT_YET_VALID: "the client's certificate is not valid yet: compare the clocks",
  INVALID_PURPOSE: "the client's certificate is not for clients (extended key usage client auth)",
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA:
    "the client does not trust the receiver's certificate: give it the CA that signed cert_file",
  ERR_SSL_HTTP_REQUEST: 'the client speaks http:// to a port that speaks TLS',
};

/** What a person can do about a handshake that failed; nothing where the code is all that is known. */
export function handshakeWords(code: string): string | undefined {
  return Object.hasOwn(WORDS, code) ? WORDS[code] : undefined;
}
