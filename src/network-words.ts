import { messageOf } from './errors.ts';

const LONGEST_QUOTE = 500;
/** UTF-16 units of a text that are looked at for it. */
const LONGEST_LOOK = LONGEST_QUOTE * 4;

/**
 * What somebody else wrote, fit for a log line: one line, no control characters, at most 500 characters,
 * with what is cut marked by an ellipsis.
 */
export function quote(text: string): string {
  // Cut before cleaning: the text may be megabytes long.
  const line = text
    .slice(0, LONGEST_LOOK)
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\s]+/gu, ' ')
    .trim();
  const characters = [...line];
  return characters.length > LONGEST_QUOTE || text.length > LONGEST_LOOK
    ? `${characters.slice(0, LONGEST_QUOTE - 1).join('')}…`
    : line;
}

/** As `quote`, of a text in UTF-8 that may have megabytes. */
export function quoteBytes(text: Buffer): string {
  // No unit has more than three bytes, so that this is more than is looked at.
  return quote(text.toString('utf8', 0, 3 * (LONGEST_LOOK + 1)));
}

/** A URL for people: without user, password, query and fragment, which may carry secrets. */
export function bareUrl(url: URL | string): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

/** Why there was no complete answer of `url`, in words that say what to do; `timeoutMs` is the limit it had. */
export function networkWords(error: unknown, url: URL, timeoutMs: number): string {
  const problem = rootOf(error);
  const code = codeOf(problem);
  const where = url.host;
  switch (code) {
    case 'ENOTFOUND':
      return `the name ${url.hostname} does not resolve: check it, and this machine's DNS`;
    case 'EAI_AGAIN':
      return `the DNS server did not answer for ${url.hostname}`;
    case 'ECONNREFUSED':
      return `nothing listens at ${where} (connection refused)`;
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return `no route to ${where} (${code})`;
    case 'ETIMEDOUT':
    case 'UND_ERR_CONNECT_TIMEOUT':
      return `no connection to ${where} in time: check firewalls and network policies`;
    case 'ECONNRESET':
    case 'EPIPE':
    case 'UND_ERR_SOCKET':
    case 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH':
      return `${where} closed the connection before its answer was complete`;
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return `the certificate of ${where} is not signed by a CA that is trusted here (${code}): set ca_file to the CA's certificate`;
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      return `the certificate of ${where} is not valid now (${code}): renew it, or check the clocks`;
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return `the certificate of ${where} is for other names: ${quote(messageOf(problem))}`;
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
    case 'EPROTO':
      return `${where} does not speak TLS: is it an http:// address?`;
    case 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED':
    case 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE':
      return `${where} refused the TLS handshake (${code}): it may want a client certificate, set cert_file and key_file`;
    case 'UND_ERR_RES_EXCEEDED_MAX_SIZE':
      return `the answer of ${where} is larger than is read here`;
    default:
  }
  if (problem instanceof Error && problem.name === 'HTTPParserError')
    return `what ${where} answers is not HTTP`;
  if (problem instanceof Error && problem.name === 'TimeoutError') {
    return `no complete answer from ${where} within ${timeoutMs / 1000} s`;
  }
  if (problem instanceof Error && problem.name === 'AbortError') return 'the relay stopped waiting for it';
  return `${where}: ${quote(messageOf(problem))}${code === undefined ? '' : ` (${code})`}`;
}

/** Causes hide in one another; several addresses tried for one name come as an AggregateError. */
function rootOf(error: unknown): unknown {
  let root = error;
  for (let depth = 0; depth < 8; depth++) {
    if (root instanceof AggregateError && root.errors.length > 0) root = root.errors[0];
    else if (root instanceof Error && root.cause instanceof Error && codeOf(root) === undefined)
      root = root.cause;
    else break;
  }
  return root;
}

function codeOf(error: unknown): string | undefined {
  // A DOMException's code is a number of no use here.
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
