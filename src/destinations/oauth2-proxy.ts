import type { HttpAnswer } from './http-client.ts';

/** Where it begins a login, and where people come back to after it. */
const LOGIN = /\/oauth2\/(start|callback)\b/;
/** What every page of its own refers to. */
const PAGE = /\/oauth2\/static\//;

const NOT_TAKEN =
  'oauth2-proxy, which stands before MLflow, takes bearer tokens with --skip-jwt-bearer-tokens alone, and then those of its issuer and audience (--oidc-issuer-url; --client-id or --oidc-extra-audience)';
const NOT_LET_IN =
  'oauth2-proxy, which stands before MLflow, takes the token and does not let this account in: see its --allowed-group and --email-domain';

/**
 * What to do about an answer of oauth2-proxy (7.8) to who is not let in; undefined for an answer of others. It writes
 * `{}` for who wants JSON, and else shows a page or leads to the issuer's. Pure.
 */
export function oauth2ProxyRemedy(
  answer: Pick<HttpAnswer, 'status' | 'contentType' | 'location' | 'body'>,
): string | undefined {
  const { status, contentType, location } = answer;
  const body = answer.body.toString('latin1');
  if (status === 401 && contentType === 'application/json' && body === '{}') return NOT_TAKEN;
  if (status === 302 && LOGIN.test(decoded(location))) return NOT_TAKEN;
  if (status !== 403 || !PAGE.test(body)) return undefined;
  return LOGIN.test(body) ? NOT_TAKEN : NOT_LET_IN;
}

function decoded(location = ''): string {
  try {
    return decodeURIComponent(location);
  } catch {
    return location;
  }
}
